"""What a folder with a model is, by its JSON files: which family takes it, and which files it needs.

A first look before anything is sent; whether the files are sound is for the trainer to say. The web UI has
the same rules in `model/folder.ts`; one table tests both (`tests/support/model_folders.json`).
"""

import json
from pathlib import Path
from typing import Any, Final

from tuneyard.v1 import training_pb2

_CAUSAL: Final = ("ForCausalLM", "LMHeadModel")
_IMAGES: Final = ("ForImageClassification",)
_PIPELINE: Final = "model_index.json"
_CHECKPOINT: Final = b'"model.diffusion_model.'
"""How the header of a text-to-image checkpoint in one file names the weights of its network."""
_CLIP: Final = "clip"
"""What scores the pictures of text-to-image models."""
_MAX_CONFIG_BYTES: Final = 16 << 20
_OTHER_WEIGHTS: Final = frozenset(
    {".bin", ".pt", ".pth", ".gguf", ".onnx", ".h5", ".msgpack", ".ot", ".tflite"}
)
"""Other forms of the weights, beside safetensors."""


class NoModel(ValueError):
    """The folder holds something that no family trains; the message says what."""


def family_of(source: Path) -> "training_pb2.Family.ValueType":
    """The family of trainers that takes a file or a folder; NoModel with what is wrong with it."""
    if source.suffix.lower() == ".gguf":
        raise NoModel(f"{source.name}: GGUF is for running models; import the folder with its safetensors")
    if not source.is_dir():
        is_drawing = source.suffix.lower() == ".safetensors" and _is_checkpoint(source)
        return training_pb2.FAMILY_DIFFUSION if is_drawing else training_pb2.FAMILY_VISION
    if (source / _PIPELINE).is_file() or any(map(_is_checkpoint, source.glob("*.safetensors"))):
        return training_pb2.FAMILY_DIFFUSION
    if (source / "adapter_config.json").is_file() and not (source / "config.json").is_file():
        raise NoModel(f"{source}: this is an adapter; import the model that it belongs to")
    refuse_without_model(source)
    config = _config(source)
    if config.get("model_type") == _CLIP:
        return training_pb2.FAMILY_DIFFUSION
    architectures = config.get("architectures")
    names = [str(name) for name in architectures] if isinstance(architectures, list) else []
    if any(name.endswith(_CAUSAL) for name in names):
        return training_pb2.FAMILY_LLM
    if names and config.get("model_type") and not any(name.endswith(_IMAGES) for name in names):
        raise NoModel(
            f"{source}: {', '.join(names)} can be trained by no family; language models are named"
            " …ForCausalLM, image classifiers …ForImageClassification (--family imports it all the same)"
        )
    return training_pb2.FAMILY_VISION


def refuse_without_model(folder: Path) -> None:
    """NoModel for a folder that holds none at its top, so that it is not sent: it may be large."""
    weights = _OTHER_WEIGHTS | {".safetensors"}
    if any((folder / name).is_file() for name in ("config.json", _PIPELINE)):
        return
    if not any(path.suffix.lower() in weights for path in folder.iterdir()):
        raise NoModel(
            f"{folder}: there is no model in this folder: neither config.json, {_PIPELINE} nor weights"
        )


def is_needed_of_pipeline(folder: Path, path: Path) -> bool:
    """Whether a text-to-image model's folder is incomplete without a file: what is no safetensors stays
    behind where its part has them, and so do whole checkpoints beside a pipeline and variants in fp16.
    """
    beside = [other.name for other in path.parent.glob("*.safetensors")]
    if path.suffix.lower() in _OTHER_WEIGHTS:
        return not beside
    if path.suffix != ".safetensors":
        return True
    if path.parent == folder:
        return not any(folder.glob("*/*.safetensors"))
    is_variant = path.name.count(".") > 1
    return not (is_variant and any(name.count(".") == 1 for name in beside))


def is_needed(folder: Path, path: Path) -> bool:
    """Whether a language model's folder is incomplete without a file: doubled weights stay behind."""
    if path.parent != folder:
        return False
    has_safetensors = any(folder.glob("model*.safetensors"))
    if path.suffix == ".safetensors":
        return not (has_safetensors and path.name.startswith("consolidated"))
    return not (has_safetensors and path.suffix.lower() in _OTHER_WEIGHTS)


def _is_checkpoint(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            return length <= _MAX_CONFIG_BYTES and _CHECKPOINT in file.read(length)
    except OSError:
        return False


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            return {}
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
