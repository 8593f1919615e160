"""A LoRA adapter as it lies in files, and the weights that it makes of the base's: tensor by tensor, in fp32.

Reads peft's files by itself, so that no model has to be in memory. What it does not know it refuses.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.safe_json import read_json

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_PREFIX = "base_model.model."
_UNKNOWN = (
    *("alpha_pattern", "rank_pattern", "modules_to_save", "trainable_token_indices", "target_parameters"),
    *(
        "layer_replication",
        "lora_bias",
        "use_qalora",
        "alora_invocation_tokens",
        "corda_config",
        "eva_config",
    ),
)
"""Settings of peft that change what an adapter computes, and that training here never makes."""
_CHUNK_VALUES = 1 << 24
"""Values in fp32 that are in memory at once beside the weight: 64 MiB."""


@dataclass(frozen=True)
class LoraLayer:
    """The adapter of one linear layer: rows of `up` are outputs, columns of `down` inputs."""

    down: Tensor
    up: Tensor
    magnitude: Tensor | None
    """DoRA's, one for each output."""


@dataclass(frozen=True, kw_only=True)
class StoredAdapter:
    """A whole adapter; it is small, and in memory."""

    layers: Mapping[str, LoraLayer]
    """By the name of the module in the base model."""
    scaling: float
    fan_in_fan_out: bool
    """Whether the base's layers keep their weights transposed, as GPT-2's do."""

    def merged(self, module: str, weight: Tensor) -> Tensor:
        """The weight with the adapter of the module in it: computed in fp32, rounded once to its own dtype.

        DoRA (arXiv 2402.09353): m · (W + s·BA) / ‖W + s·BA‖, the norm over each output's row.
        """
        layer = self.layers[module]
        rows = weight.T if self.fan_in_fan_out else weight
        if (rows.shape[0], rows.shape[1]) != (layer.up.shape[0], layer.down.shape[1]):
            raise _unusable(f"The adapter of {module} has another shape than the base's weight")
        exact = torch.float64 if weight.dtype == torch.float64 else torch.float32
        up, down = layer.up.to(exact), layer.down.to(exact)
        result = torch.empty_like(weight)
        target = result.T if self.fan_in_fan_out else result
        step = max(1, _CHUNK_VALUES // rows.shape[1])
        for start in range(0, rows.shape[0], step):
            part = slice(start, start + step)
            value = rows[part].to(exact) + self.scaling * (up[part] @ down)
            if layer.magnitude is not None:
                value *= (layer.magnitude[part].to(exact) / torch.linalg.norm(value, dim=1)).unsqueeze(1)
            target[part] = value.to(weight.dtype)
        if not torch.isfinite(result).all():
            raise _unusable(f"The adapter makes values of {module} that are not finite")
        return result


def read_adapter(folder: Path) -> StoredAdapter:
    """The adapter in a folder of peft's; raises RecipeError NOT_SUPPORTED for what is no plain LoRA."""
    config = read_json(folder / CONFIG)
    try:
        tensors = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise _unusable(f"{WEIGHTS} cannot be read") from error
    strange = [name for name in _UNKNOWN if config.get(name)]
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or strange:
        raise _unusable(f"The adapter is no plain LoRA ({', '.join(strange) or config.get('peft_type')})")
    layers = _layers(tensors)
    rank, alpha = config["r"], config["lora_alpha"]
    return StoredAdapter(
        layers=layers,
        scaling=alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank,
        fan_in_fan_out=bool(config.get("fan_in_fan_out")),
    )


def _layers(tensors: Mapping[str, Tensor]) -> dict[str, LoraLayer]:
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        module, _, kind = name.removeprefix(_PREFIX).rpartition(".lora_")
        kind = kind.removesuffix(".weight")
        if not name.startswith(_PREFIX) or kind not in ("A", "B", "magnitude_vector"):
            raise _unusable(f"{WEIGHTS} holds {name}, which belongs to no plain LoRA")
        parts.setdefault(module, {})[kind] = value
    if incomplete := [module for module, found in parts.items() if "A" not in found or "B" not in found]:
        raise _unusable(f"{WEIGHTS} lacks a part of {incomplete[0]}")
    return {
        module: LoraLayer(found["A"], found["B"], found.get("magnitude_vector"))
        for module, found in parts.items()
    }


def _unusable(what: str) -> RecipeError:
    return RecipeError(
        f"{what}, so it cannot be merged.",
        reason="NOT_SUPPORTED",
        remedies=("Merge the adapters that jobs of this platform trained.",),
    )
