"""Which model folders are taken at all: causal language models that transformers loads without foreign code.

Reads only the JSON files beside the weights; no torch here, so that conversion and admission share it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuneyard.trainer.safe_json import read_json, refuse_code, refused

_JSON_FILES = (
    "config.json",
    "tokenizer_config.json",
    "generation_config.json",
    "processor_config.json",
    "preprocessor_config.json",
)
"""What transformers looks for `auto_map` in when it loads a model or its tokenizer."""
_CAUSAL_SUFFIXES = ("ForCausalLM", "LMHeadModel")


def check_folder(folder: Path) -> dict[str, Any]:
    """The folder's config.json, once every file beside it was found to be harmless.

    Raises RecipeError: BASE_MODEL_UNAVAILABLE where the folder holds no such model, NOT_SUPPORTED where it
    asks for code, for another kind of training or for a library that is not used here.
    """
    if not (folder / "config.json").is_file():
        raise refused(
            "The base model has no config.json: it is not in the layout of transformers.",
            "Import the folder that `save_pretrained` wrote, or the model's id on the hub.",
            reason="BASE_MODEL_UNAVAILABLE",
        )
    if (folder / "adapter_config.json").exists():
        raise refused(
            "The base model's folder holds adapter_config.json: it is an adapter, or a mixture of both.",
            "Import the adapter's base model, or merge the two first (`tuneyard merge`).",
        )
    for name in _JSON_FILES:
        path = folder / name
        if path.is_file():
            refuse_code(read_json(path), name)
    config = read_json(folder / "config.json")
    check(config)
    return config


def check(config: Mapping[str, Any]) -> None:
    """Whether a config.json is that of a causal language model which needs no foreign code; raises as
    `check_folder`.
    """
    refuse_code(config, "config.json")
    if config.get("quantization_config"):
        raise refused(
            "The base model is quantised already (config.json: quantization_config).",
            "Import the original weights: QLoRA quantises them itself as it loads them.",
        )
    if config.get("is_encoder_decoder"):
        raise refused(
            "The base model is an encoder-decoder; only causal language models are trained here.",
            "Choose a model whose architecture ends in ForCausalLM.",
        )
    if not isinstance(config.get("model_type"), str):
        raise refused(
            "The base model's config.json does not name its model_type.",
            "Import a folder that `save_pretrained` of transformers wrote.",
            reason="BASE_MODEL_UNAVAILABLE",
        )
    architectures = config.get("architectures")
    names = [str(name) for name in architectures] if isinstance(architectures, list) else []
    if not any(name.endswith(_CAUSAL_SUFFIXES) for name in names):
        sees = " It reads images as well as text." if "vision_config" in config else ""
        raise refused(
            f"The base model's architecture is {', '.join(names) or 'not named'}, which is no causal language"
            f" model.{sees}",
            "Choose a model whose architecture ends in ForCausalLM, or its text-only variant.",
        )
