"""Pipelines of Stable Diffusion 1.x and XL as one .safetensors file, by the names of ComfyUI and A1111."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import diffusers as untyped_diffusers
import torch
from safetensors.torch import save_file
from torch import Tensor

diffusers: Any = untyped_diffusers

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "conv_in.": "input_blocks.0.0.",
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
    "mid_block.resnets.0.": "middle_block.0.",
    "mid_block.attentions.0.": "middle_block.1.",
    "mid_block.resnets.1.": "middle_block.2.",
}
_OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def write_checkpoint(pipeline: Path, path: Path, *, marks: tuple[str, ...] = ()) -> Path:
    """The weights of a folder in the layout of diffusers as one file; `marks` are empty tensors' names."""
    loaded = diffusers.DiffusionPipeline.from_pretrained(str(pipeline), local_files_only=True)
    tensors = {f"model.diffusion_model.{name}": value for name, value in _unet(loaded.unet)}
    tensors |= {f"first_stage_model.{name}": value for name, value in _vae(loaded.vae)}
    first = {_rooted(name): value for name, value in loaded.text_encoder.state_dict().items()}
    if hasattr(loaded, "text_encoder_2"):
        tensors |= {f"conditioner.embedders.0.transformer.{name}": value for name, value in first.items()}
        second = loaded.text_encoder_2.state_dict()
        tensors |= {f"conditioner.embedders.1.model.{name}": value for name, value in _open_clip(second)}
    else:
        tensors |= {f"cond_stage_model.transformer.{name}": value for name, value in first.items()}
    tensors |= {name: torch.zeros(0) for name in marks}
    save_file({name: value.contiguous() for name, value in tensors.items()}, path)
    return path


def _unet(unet: Any) -> Iterator[tuple[str, Tensor]]:
    layers, levels = unet.config.layers_per_block, len(unet.config.block_out_channels)
    names = dict(_UNET_ENDS)
    for level in range(levels):
        for number in range(layers):
            place = 1 + (layers + 1) * level + number
            names[f"down_blocks.{level}.resnets.{number}."] = f"input_blocks.{place}.0."
            names[f"down_blocks.{level}.attentions.{number}."] = f"input_blocks.{place}.1."
        names[f"down_blocks.{level}.downsamplers.0.conv."] = (
            f"input_blocks.{(layers + 1) * (level + 1)}.0.op."
        )
        for number in range(layers + 1):
            place = (layers + 1) * level + number
            names[f"up_blocks.{level}.resnets.{number}."] = f"output_blocks.{place}.0."
            names[f"up_blocks.{level}.attentions.{number}."] = f"output_blocks.{place}.1."
        after = 2 if hasattr(unet.up_blocks[level], "attentions") else 1
        names[f"up_blocks.{level}.upsamplers.0.conv."] = (
            f"output_blocks.{(layers + 1) * level + layers}.{after}.conv."
        )
    for name, value in unet.state_dict().items():
        new = _renamed(name, names)
        if ".resnets." in name:
            new = _renamed(new, {f".{old}.": f".{ldm}." for old, ldm in _RESNET.items()})
        yield new, value


def _vae(vae: Any) -> Iterator[tuple[str, Tensor]]:
    levels = len(vae.config.block_out_channels)
    names = {"mid_block.resnets.0.": "mid.block_1.", "mid_block.resnets.1.": "mid.block_2."}
    names |= {"conv_norm_out.": "norm_out.", "conv_shortcut.": "nin_shortcut."}
    for level in range(levels):
        names |= {
            f"down_blocks.{level}.resnets.": f"down.{level}.block.",
            f"down_blocks.{level}.downsamplers.0.": f"down.{level}.downsample.",
            f"up_blocks.{level}.resnets.": f"up.{levels - 1 - level}.block.",
            f"up_blocks.{level}.upsamplers.0.": f"up.{levels - 1 - level}.upsample.",
        }
    for name, value in vae.state_dict().items():
        yield _renamed(name, names), value


def _open_clip(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    yield "text_projection", state["text_projection.weight"].T
    for name, value in state.items():
        inner = name.removeprefix("text_model.")
        if inner.startswith("embeddings.token"):
            yield "token_embedding.weight", value
        elif inner.startswith("embeddings.position_embedding"):
            yield "positional_embedding", value
        elif inner.startswith("final_layer_norm"):
            yield inner.replace("final_layer_norm", "ln_final"), value
        elif ".q_proj." in inner:
            kind = inner.rpartition(".")[2]
            whole = torch.cat([state[name.replace(".q_proj.", f".{each}_proj.")] for each in "qkv"])
            layer = inner.split(".")[2]
            yield f"transformer.resblocks.{layer}.attn.in_proj_{kind}", whole
        elif inner.startswith("encoder.layers.") and not ({"k_proj", "v_proj"} & set(inner.split("."))):
            yield _renamed(inner.replace("encoder.layers.", "transformer.resblocks."), _OPEN_CLIP), value


def _rooted(name: str) -> str:
    return name if name.startswith("text_model.") else f"text_model.{name}"


def _renamed(name: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        if old in name:
            name = name.replace(old, new)
    return name
