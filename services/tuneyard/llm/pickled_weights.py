"""Rewrites pytorch_model.bin as safetensors. Nothing in a pickle is run: one with code is refused."""

import pickle
from pathlib import Path

import torch
from torch import Tensor

from tuneyard.llm.folder_files import PICKLE, PICKLE_INDEX
from tuneyard.llm.shards import DTYPES, PlannedTensor, write_shards
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.safe_json import read_json, refused


def rewrite(source: Path, result: Path) -> None:
    """Writes the tensors of the folder's pickles, one after the other. BASE_MODEL_UNAVAILABLE."""
    state: dict[str, Tensor] = {}
    for path in _files(source):
        state |= _tensors(path)
    if strange := [name for name, value in state.items() if value.dtype not in DTYPES.values()]:
        raise _refused(f"{strange[0]} has the number format {state[strange[0]].dtype}.")
    planned = [PlannedTensor(name, value.dtype, tuple(value.shape)) for name, value in state.items()]
    write_shards(result, planned, state.__getitem__)


def _files(source: Path) -> list[Path]:
    if (source / PICKLE).is_file():
        return [source / PICKLE]
    names = sorted(set(map(str, dict(read_json(source / PICKLE_INDEX).get("weight_map") or {}).values())))
    for name in names:
        if Path(name).name != name or not (source / name).is_file():
            raise _refused(f"{PICKLE_INDEX} names {name}, which is not there.")
    return [source / name for name in names]


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        # Mapped, so that the file is not in memory as a whole.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise _refused(f"{path.name} holds more than tensors, which is not read.") from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise _refused(f"{path.name} is damaged, or older than PyTorch 1.6.") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise _refused(f"{path.name} is no state dict.")
    return state


def _refused(what: str) -> RecipeError:
    return refused(
        f"The weights cannot be read: {what}",
        "Load the model with transformers where you trust it, call save_pretrained, and import what it wrote:"
        " *.safetensors hold tensors and nothing else.",
        reason="BASE_MODEL_UNAVAILABLE",
    )
