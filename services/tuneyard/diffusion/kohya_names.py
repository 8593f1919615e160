"""What kohya's scripts call the layers of a pipeline; ComfyUI and A1111 read the same names.

Stable Diffusion 1 and 2 keep diffusers' paths with underscores. SDXL's UNet has the paths of its first
publication, Stability AI's: diffusers' own are read by ComfyUI and A1111, but not by the scripts. Flow
matching is named as ComfyUI reads it; the scripts have another network there, with fused layers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuneyard.diffusion.safe_pipeline import Kind

_PREFIXES = {
    "unet": "lora_unet",
    "transformer": "lora_transformer",
    "text_encoder": "lora_te1",
    "text_encoder_2": "lora_te2",
    "text_encoder_3": "lora_te3",
}
_ONLY_TEXT_ENCODER = "lora_te"
_CLIP_ROOT = "text_model."
_CLIPS = ("text_encoder", "text_encoder_2")
_IN_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(attentions|resnets)\.(\d+)\.(.+)")
_IN_MIDDLE = re.compile(r"mid_block\.(attentions|resnets)\.(\d+)\.(.+)")
_ALONE = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
_PUBLISHED_LAYERS = 2


@dataclass(frozen=True, kw_only=True)
class KohyaNames:
    """Of one pipeline."""

    kind: Kind
    layers_per_block: int = _PUBLISHED_LAYERS
    """Of its UNet: first publications count layers through all blocks."""

    @classmethod
    def of(cls, kind: Kind, network: Mapping[str, Any]) -> "KohyaNames":
        """Of a pipeline whose UNet or transformer has this config."""
        return cls(kind=kind, layers_per_block=int(network.get("layers_per_block") or _PUBLISHED_LAYERS))

    def of_layer(self, part: str, layer: str) -> str:
        """The name of a layer by its path in a part of the pipeline; its weights' names begin with it."""
        prefix = _PREFIXES[part]
        if part == "text_encoder" and self.kind == "sd":
            prefix = _ONLY_TEXT_ENCODER
        path = self._published(layer) if part == "unet" and self.kind == "sdxl" else layer
        return f"{prefix}_{with_clip_root(part, path).replace('.', '_')}"

    def _published(self, layer: str) -> str:
        """The path in the UNet as it was first published: each block of `input_blocks` ends with a layer that
        scales down, and those of `output_blocks` have a layer more instead.
        """
        if found := _IN_BLOCK.fullmatch(layer):
            side, block, kind, number, rest = found.groups()
            place = (self.layers_per_block + 1) * int(block) + int(number)
            blocks = f"input_blocks.{place + 1}" if side == "down" else f"output_blocks.{place}"
            return f"{blocks}.{int(kind == 'attentions')}.{_in_resnet(rest)}"
        if found := _IN_MIDDLE.fullmatch(layer):
            kind, number, rest = found.groups()
            return f"middle_block.{1 if kind == 'attentions' else 2 * int(number)}.{_in_resnet(rest)}"
        return _ALONE.get(layer, layer)


def with_clip_root(part: str, name: str) -> str:
    """CLIP's layers as every release of transformers but the newest names them; diffusers reads both."""
    return name if part not in _CLIPS or name.startswith(_CLIP_ROOT) else f"{_CLIP_ROOT}{name}"


def _in_resnet(rest: str) -> str:
    return "emb_layers.1" if rest == "time_emb_proj" else rest
