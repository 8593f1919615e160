"""Loading and saving tokenizers: from local files alone, without foreign code, the vocabulary as it is."""

from pathlib import Path
from typing import Any, cast

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tuneyard.llm.safe_config import check_folder
from tuneyard.trainer.safe_json import refused

_PAD_TOKENS = (
    "<pad>",
    "<|pad|>",
    "[PAD]",
    "<|finetune_right_pad_id|>",
    "<|padding|>",
    "<|endoftext|>",
    "<unk>",
)
"""Tokens for padding that a vocabulary may have without saying what they are for, the most fitting first."""


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a model's folder. It always has a pad token, which may double as another: padding is
    masked wherever it is used.

    Raises RecipeError: BASE_MODEL_UNAVAILABLE where there is none that can be read, and as
    `safe_config.check_folder`.
    """
    check_folder(folder)
    try:
        loaded: Any = AutoTokenizer.from_pretrained(
            str(folder), trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # tokenizers raise nearly anything on files that they do not like
        raise refused(
            f"The base model's tokenizer cannot be loaded ({type(error).__name__}).",
            "Import the model together with tokenizer.json and tokenizer_config.json.",
            reason="BASE_MODEL_UNAVAILABLE",
        ) from error
    tokenizer = cast(PreTrainedTokenizerBase, loaded)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = _pad_token(tokenizer)
    return tokenizer


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes the tokenizer's files as transformers reads them."""
    tokenizer.save_pretrained(str(folder))


def _pad_token(tokenizer: PreTrainedTokenizerBase) -> str:
    """A token of the vocabulary to pad with: a new one would need a new row of embeddings."""
    vocabulary = tokenizer.get_vocab()
    own = next((token for token in _PAD_TOKENS if token in vocabulary), None)
    chosen = own or tokenizer.eos_token or tokenizer.unk_token
    if chosen is None:
        raise refused(
            "The base model's tokenizer names neither a pad token nor the end of a text.",
            "Set eos_token in its tokenizer_config.json and import the model again.",
            reason="BASE_MODEL_UNAVAILABLE",
        )
    return str(chosen)
