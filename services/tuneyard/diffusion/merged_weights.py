"""Adds LoRA weights to the weights of a pipeline's files: name by name, rounded once to the stored format.

Reads and writes files; whether the result is right is `merge_proof`'s to say.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from tuneyard.diffusion.lora_files import LoraPart
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.linking import link_or_copy

_DOWN, _UP, _MAGNITUDE = ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"
_CLIP_ROOT = "text_model."


@dataclass(frozen=True)
class Change:
    """What the adapters of one layer do to its weight."""

    down: Tensor
    """(rank, inputs)"""
    up: Tensor
    """(outputs, rank)"""
    scale: float
    magnitude: Tensor | None = None
    """(outputs,) of DoRA."""

    def merged(self, weight: Tensor) -> Tensor:
        """The weight that computes what weight and adapters do, in the weight's own format."""
        changed = weight.float() + self.scale * (self.up.float() @ self.down.float())
        if self.magnitude is not None:
            changed *= (self.magnitude.float() / changed.norm(dim=1)).unsqueeze(1)
        return changed.to(weight.dtype)


@dataclass(frozen=True)
class Written:
    """A merged pipeline's files."""

    folder: Path
    layers: int
    """How many weights were changed."""
    dtype: str
    """Of the changed weights, as torch names it."""


def changes_of(part: LoraPart) -> dict[str, Change]:
    """The changes by the layers' names. Raises RecipeError NOT_SUPPORTED where one is no linear layer's."""
    found: dict[str, Change] = {}
    for name, down in part.weights.items():
        if not name.endswith(_DOWN):
            continue
        layer = name.removesuffix(_DOWN)
        up = part.weights[f"{layer}{_UP}"]
        if down.ndim != 2 or up.ndim != 2:
            raise RecipeError(f"{layer} is no linear layer: it cannot be merged.", reason="NOT_SUPPORTED")
        rank = down.shape[0]
        alpha = float(part.settings.get("alpha_pattern", {}).get(layer, part.alpha))
        scale = alpha / (math.sqrt(rank) if part.settings.get("use_rslora") else rank)
        found[layer] = Change(down, up, scale, part.weights.get(f"{layer}{_MAGNITUDE}"))
    return found


def write_merged(
    base: Path, parts: Mapping[str, LoraPart], folder: Path, *, check: Callable[[], None]
) -> Written:
    """Writes the base's files into `folder`, those of changed parts anew; calls `check` for each file.

    Raises RecipeError BASE_MODEL_UNAVAILABLE where a changed layer has no weight, and what `check` raises.
    """
    count, dtype = 0, "float32"
    for path in sorted(path for path in base.rglob("*") if path.is_file()):
        check()
        name = path.relative_to(base)
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        part = parts.get(name.parts[0]) if len(name.parts) > 1 else None
        if part is None or path.suffix != ".safetensors":
            link_or_copy(path, target)
            continue
        changed, dtype = _write_file(path, target, changes_of(part))
        count += changed
    expected = sum(len(changes_of(part)) for part in parts.values())
    if count != expected:
        raise RecipeError(
            f"{expected - count} of the layers that the LoRA changes have no weight in the base's files.",
            reason="BASE_MODEL_UNAVAILABLE",
            remedies=("Import the base model that it was trained on.",),
        )
    return Written(folder, count, dtype)


def _write_file(path: Path, target: Path, changes: Mapping[str, Change]) -> tuple[int, str]:
    tensors: dict[str, Tensor] = {}
    count, dtype = 0, "float32"
    with safe_open(path, framework="pt") as file:
        metadata: Any = file.metadata() or {"format": "pt"}
        for name in file.keys():  # noqa: SIM118 - it is no mapping
            value = file.get_tensor(name)
            layer = name.removesuffix(".weight")
            change = changes.get(layer) or changes.get(layer.removeprefix(_CLIP_ROOT))
            change = change or changes.get(f"{_CLIP_ROOT}{layer}")
            if change is not None and name.endswith(".weight"):
                value, count, dtype = change.merged(value), count + 1, str(value.dtype).removeprefix("torch.")
            tensors[name] = value
    save_file(tensors, target, metadata=metadata)
    return count, dtype
