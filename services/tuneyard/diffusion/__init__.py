"""The diffusion trainer: LoRA weights of text-to-image models, and what is made of finished ones."""
