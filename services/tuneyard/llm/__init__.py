"""The language model trainer: full fine-tuning, LoRA and QLoRA, and what is made of finished models."""
