"""Which model folders are taken at all: causal language models that transformers loads without foreign code.

Reads only the JSON files beside the weights; no torch here, so that conversion and admission share it.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tuneyard.trainer.errors import Reason, RecipeError

_JSON_FILES = (
    "config.json",
    "tokenizer_config.json",
    "generation_config.json",
    "processor_config.json",
    "preprocessor_config.json",
)
"""What transformers looks for `auto_map` in when it loads a model or its tokenizer."""
_CODE_KEYS = frozenset(
    {"auto_map", "trust_remote_code", "custom_generate", "custom_pipelines", "_attn_implementation_internal"}
)
_LIBRARY_IMPLEMENTATIONS = frozenset({"eager", "sdpa", "flash_attention_2", "flex_attention"})
"""Any other name of an implementation may be that of a repository, whose code would be fetched and run."""
_CAUSAL_SUFFIXES = ("ForCausalLM", "LMHeadModel")
_MAX_JSON_BYTES = 16 << 20


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


def refuse_code(config: Mapping[str, Any], file: str) -> None:
    """Raises RecipeError NOT_SUPPORTED where a JSON file wants code that comes with a model."""
    for key, value in _entries(config):
        if key in _CODE_KEYS and value:
            raise refused(
                f"The base model asks for remote code ({file}: {key}), which is never run here.",
                "Choose a model that transformers supports by itself. Where it does support this one, delete"
                f" {key} from {file} in a copy of the folder and import that.",
            )
        if key.endswith("_implementation") and value and str(value) not in _LIBRARY_IMPLEMENTATIONS:
            raise refused(
                f"The base model asks for a foreign implementation ({file}: {key}), which is never loaded.",
                f"Delete {key} from {file} in a copy of the folder and import that.",
            )
        if key == "transformers_weights" and value and Path(str(value)).name != value:
            raise refused(
                f"The base model's weights lie outside of its folder ({file}: {key}).",
                f"Delete {key} from {file} in a copy of the folder and import that.",
            )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; raises RecipeError BASE_MODEL_UNAVAILABLE for anything else."""
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ValueError("too long")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path) from error
    if not isinstance(value, dict):
        raise _unreadable(path)
    return value


def refused(message: str, remedy: str, *, reason: Reason = "NOT_SUPPORTED") -> RecipeError:
    """The error of a base model that cannot be used."""
    return RecipeError(message, reason=reason, remedies=(remedy,))


def _unreadable(path: Path) -> RecipeError:
    return refused(
        f"The base model's {path.name} is not a JSON object.",
        "Import the folder again, as it was published.",
        reason="BASE_MODEL_UNAVAILABLE",
    )


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of an object and of all objects within it."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key), inner
            yield from _entries(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _entries(inner)
