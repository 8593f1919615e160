"""Reads weights from files of others without running anything in them. Knows no architecture."""

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tuneyard.trainer.errors import RecipeError

_PICKLED = (".pth", ".pt", ".bin")
_WRAPPERS = ("ema_state_dict", "model_ema", "state_dict", "model_state_dict", "model")
"""Under which keys training programs keep the weights, the moving average first."""
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")
"""What wrappers put before every name."""
_MAX_JSON_BYTES = 1 << 20
_WRITTEN_BY_TORCH = (b"PK\x03\x04", b"\x80")
"""How its files begin: a ZIP file, or a bare pickle of older releases."""
_DAMAGED = "cannot be read safely: it is damaged, or no file of torch"


@dataclass(frozen=True)
class WeightFiles:
    """Weights by name, and what the files beside them say."""

    state: dict[str, Tensor]
    source: str
    """The kind of file, for people."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """config.json, where there is one."""
    preprocessor: Mapping[str, Any] = field(default_factory=dict)
    """preprocessor_config.json, where there is one."""


class HoldsCode(RecipeError):
    """A pickle with more than tensors: loading it as such would run code."""


def read(folder: Path) -> WeightFiles:
    """The weights in a folder: safetensors first, else what torch wrote.

    Raises RecipeError BASE_MODEL_UNAVAILABLE, or HoldsCode for a pickle that holds more than weights.
    """
    config, preprocessor = _json(folder, "config.json"), _json(folder, "preprocessor_config.json")
    if shards := sorted(folder.rglob("*.safetensors")):
        state: dict[str, Tensor] = {}
        for shard in shards:
            try:
                state |= load_file(shard)
            except (SafetensorError, OSError, ValueError) as error:
                _refuse(f"{shard.name} is damaged: it is no file of safetensors", error)
        return WeightFiles(state, "safetensors", config, preprocessor)
    if path := pickled(folder):
        return WeightFiles(_unpickled(path), "state dict", config, preprocessor)
    _refuse("There are no weights among the files (.safetensors, .pth, .pt or .bin)")


def pickled(folder: Path) -> Path | None:
    """The file that torch wrote; the first by name where there are several."""
    found = sorted(path for path in folder.rglob("*") if path.suffix in _PICKLED and path.is_file())
    return found[0] if found else None


def _unpickled(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        if not file.read(4).startswith(_WRITTEN_BY_TORCH):
            _refuse(f"{path.name} {_DAMAGED}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise HoldsCode(
            f"{path.name} holds more than weights and cannot be read safely: loading it could run code.",
            reason="BASE_MODEL_UNAVAILABLE",
            remedies=("Store its state_dict() as safetensors or with torch.save, and import that.",),
        ) from error
    except Exception as error:  # the unpickler raises nearly anything on foreign bytes
        _refuse(f"{path.name} {_DAMAGED}", error)
    for key in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        _refuse(f"{path.name} holds a {type(content).__name__} in place of weights by name")
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        _refuse(f"{path.name} holds no weights")
    return state


def without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without what a wrapper put before all of them."""
    stripped = dict(state)
    for prefix in _PREFIXES:
        if stripped and all(name.startswith(prefix) for name in stripped):
            stripped = {name.removeprefix(prefix): value for name, value in stripped.items()}
    return stripped


def _json(folder: Path, name: str) -> dict[str, Any]:
    for path in sorted(folder.rglob(name)):
        try:
            if path.stat().st_size <= _MAX_JSON_BYTES:
                content = json.loads(path.read_text(encoding="utf-8"))
                return content if isinstance(content, dict) else {}
        except (OSError, ValueError):
            return {}
    return {}


def _refuse(message: str, error: Exception | None = None) -> NoReturn:
    raise RecipeError(f"{message}.", reason="BASE_MODEL_UNAVAILABLE") from error
