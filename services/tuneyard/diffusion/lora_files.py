"""LoRA weights as files: that of diffusers, and that of kohya's scripts, which ComfyUI and A1111 read too.

Both hold the same numbers under other names. Which weights are trained, and on what, is not its business.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from peft import LoraConfig, get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tuneyard.diffusion.kohya_names import KohyaNames, with_clip_root
from tuneyard.diffusion.safe_pipeline import TEXT_ENCODERS
from tuneyard.recipes.tensor_files import save_described

WEIGHTS_NAME = "pytorch_lora_weights.safetensors"
"""As diffusers' `load_lora_weights` looks for."""
_SETTINGS_KEY = "lora_adapter_metadata"
"""The header's entry in which diffusers keeps peft's settings: without it, alpha is taken for the rank."""
_NAMED_SETTINGS = ("r", "lora_alpha", "target_modules")
_DOWN, _UP, _MAGNITUDE = "lora_A.weight", "lora_B.weight", "lora_magnitude_vector"
_KOHYA_ENDINGS = {_DOWN: "lora_down.weight", _UP: "lora_up.weight", _MAGNITUDE: "dora_scale"}
_PARTS = ("unet", "transformer", *TEXT_ENCODERS)


@dataclass(frozen=True, kw_only=True)
class LoraPart:
    """The adapter of one part of a pipeline: its UNet or transformer, or one of its text encoders."""

    weights: Mapping[str, Tensor]
    """By peft's names without the adapter's: "….to_q.lora_A.weight"."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Those of peft's LoraConfig that are needed to rebuild it, as JSON values."""

    @property
    def rank(self) -> int:
        """Of most layers."""
        return int(self.settings["r"])

    @property
    def alpha(self) -> float:
        """The scale times the rank, or times its root where `use_rslora` is set."""
        return float(self.settings["lora_alpha"])

    def kohya_alpha(self, layer: str, rank: int) -> float:
        """The alpha that gives a layer the same scale where it is divided by the rank."""
        alpha = float(self.settings.get("alpha_pattern", {}).get(layer, self.alpha))
        return alpha * math.sqrt(rank) if self.settings.get("use_rslora") else alpha


Number = TypeVar("Number", int, float)
Value = TypeVar("Value")
Parts = Mapping[str, LoraPart]
"""By the part's name in the pipeline, such as "unet"."""


def lora_part(model: nn.Module, *, adapter: str = "default") -> LoraPart:
    """The adapter of a model that peft has put one into, copied to the host's memory."""
    state: Mapping[str, Tensor] = get_peft_model_state_dict(
        cast(Any, model), adapter_name=adapter, save_embedding_layers=False
    )
    weights = {name: value.detach().cpu().clone() for name, value in state.items()}
    return LoraPart(weights=weights, settings=_settings(cast(Any, model).peft_config[adapter]))


def save_diffusers(parts: Parts, folder: Path, *, metadata: Mapping[str, str] | None = None) -> Path:
    """Writes the file that a pipeline's `load_lora_weights(folder)` reads, with `metadata` in the header."""
    tensors: dict[str, Tensor] = {}
    settings: dict[str, Any] = {}
    for part, lora in parts.items():
        tensors |= {f"{part}.{with_clip_root(part, name)}": value for name, value in lora.weights.items()}
        settings |= {f"{part}.{name}": value for name, value in lora.settings.items()}
    header = {"format": "pt", _SETTINGS_KEY: json.dumps(settings, indent=2, sort_keys=True)}
    path = folder / WEIGHTS_NAME
    save_described(_contiguous(tensors), path, metadata={**(metadata or {}), **header})
    return path


def read_diffusers(path: Path) -> dict[str, LoraPart]:
    """The parts of a file that `save_diffusers` or diffusers wrote; raises ValueError for other files."""
    with safe_open(path, framework="pt") as file:
        header = file.metadata() or {}
    settings = _by_part(json.loads(header.get(_SETTINGS_KEY, "{}")))
    weights = _by_part(load_file(path))
    if not weights or any(part not in _PARTS for part in weights):
        raise ValueError("the file holds no LoRA weights by diffusers' names")
    return {
        part: LoraPart(weights=found, settings=settings.get(part) or _guessed_settings(found))
        for part, found in weights.items()
    }


def to_kohya(parts: Parts, names: KohyaNames) -> dict[str, Tensor]:
    """The weights by kohya's names: `lora_unet_<path>.lora_down.weight`, `.lora_up.weight`, `.alpha`."""
    tensors: dict[str, Tensor] = {}
    for part, lora in parts.items():
        for name, value in lora.weights.items():
            layer, ending = _split(name)
            flat = names.of_layer(part, layer)
            # A column, as the checkpoints of the scripts have it.
            tensors[f"{flat}.{_KOHYA_ENDINGS[ending]}"] = value.unsqueeze(1) if value.ndim == 1 else value
            if ending == _DOWN:
                alpha = lora.kohya_alpha(layer, value.shape[0])
                tensors[f"{flat}.alpha"] = torch.tensor(alpha, dtype=value.dtype)
    return tensors


def from_kohya(
    tensors: Mapping[str, Tensor], names: KohyaNames, layers: Mapping[str, Iterable[str]]
) -> dict[str, LoraPart]:
    """The parts of weights by kohya's names, which tell a layer's path only to who knows `layers`: the names
    of each part's modules.

    Raises ValueError for a layer that is not among them.
    """
    known = {names.of_layer(part, layer): (part, layer) for part, own in layers.items() for layer in own}
    weights: dict[str, dict[str, Tensor]] = {}
    alphas: dict[str, dict[str, float]] = {}
    for name, value in tensors.items():
        flat, ending = name.split(".", 1)
        if flat not in known:
            raise ValueError(f"the model has no layer for {flat}")
        part, layer = known[flat]
        if ending == "alpha":
            alphas.setdefault(part, {})[layer] = float(value)
            continue
        (own,) = (own for own, kohyas in _KOHYA_ENDINGS.items() if kohyas == ending)
        found = value.squeeze(1) if own == _MAGNITUDE else value
        weights.setdefault(part, {})[f"{layer}.{own}"] = found
    return {
        part: LoraPart(weights=found, settings=_guessed_settings(found, alphas.get(part, {})))
        for part, found in weights.items()
    }


def save_kohya(parts: Parts, path: Path, names: KohyaNames, *, metadata: Mapping[str, str]) -> Path:
    """Writes the file that ComfyUI, A1111 and kohya's scripts read, with their metadata in its header."""
    tensors = _contiguous(to_kohya(parts, names))
    first = next(iter(parts.values()))
    header = {
        "format": "pt",
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(first.rank),
        "ss_network_alpha": f"{first.kohya_alpha('', first.rank):g}",
        **metadata,
    }
    # A1111 knows a file by the hash of what follows its header, which is the same whatever the header says.
    header["sshs_model_hash"] = hashlib.sha256(_without_header(save(tensors))).hexdigest()
    save_described(tensors, path, metadata=header)
    return path


def _settings(config: LoraConfig) -> dict[str, Any]:
    """What differs from peft's defaults: another release of peft need not know all the names of this one."""
    values, usual = cast(Any, config).to_dict(), cast(Any, LoraConfig()).to_dict()
    kept = {name: value for name, value in values.items() if name in _NAMED_SETTINGS or value != usual[name]}
    for passing in ("inference_mode", "init_lora_weights"):
        kept.pop(passing, None)
    return {name: sorted(value) if isinstance(value, set) else value for name, value in kept.items()}


def _guessed_settings(
    weights: Mapping[str, Tensor], alphas: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """The settings of weights that came without: without alphas, the scale is 1."""
    ranks = {_split(name)[0]: value.shape[0] for name, value in weights.items() if name.endswith(_DOWN)}
    told = {layer: (alphas or {}).get(layer, float(rank)) for layer, rank in ranks.items()}
    rank, alpha = _most(ranks.values()), _most(told.values())
    settings: dict[str, Any] = {"r": rank, "lora_alpha": alpha, "target_modules": sorted(ranks)}
    if patterns := {layer: value for layer, value in ranks.items() if value != rank}:
        settings["rank_pattern"] = patterns
    if scales := {layer: value for layer, value in told.items() if value != alpha}:
        settings["alpha_pattern"] = scales
    if any(name.endswith(_MAGNITUDE) for name in weights):
        settings["use_dora"] = True
    return settings


def _most(values: Iterable[Number]) -> Number:
    found = list(values)
    return max(set(found), key=found.count)


def _by_part(values: Mapping[str, Value]) -> dict[str, dict[str, Value]]:
    parts: dict[str, dict[str, Value]] = {}
    for name, value in values.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = value
    return parts


def _split(name: str) -> tuple[str, str]:
    for ending in _KOHYA_ENDINGS:
        if name.endswith(f".{ending}"):
            return name.removesuffix(f".{ending}"), ending
    raise ValueError(f"{name} is no weight of a LoRA")


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def _without_header(content: bytes) -> bytes:
    return content[8 + int.from_bytes(content[:8], "little") :]
