"""Text-to-image pipelines of random weights in the shapes of published ones, whole or with narrower layers.

For measurements: the proportions of UNet, VAE and text encoders are the published ones. Tiny pipelines, for
tests, are `tiny_diffusion`'s.
"""

from pathlib import Path
from typing import Any, Literal

import diffusers as untyped_diffusers
import torch
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from tests.support.tiny_diffusion import BETAS, Family, clip_config, scaled, write_pipeline

diffusers: Any = untyped_diffusers
Shape = Literal["half-sd15", "sd15", "sdxl"]
_WIDTHS: dict[Shape, int] = {"half-sd15": 160, "sd15": 320, "sdxl": 320}
"""Channels of the UNet's first block, from which the others follow."""


def shaped_pipeline(folder: Path, shape: Shape) -> Path:
    """Writes a pipeline in bf16. "half-sd15" has every layer of Stable Diffusion 1.5 at half its width."""
    width = _WIDTHS[shape]
    family: Family = "sdxl" if shape == "sdxl" else "sd"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = _sdxl(width) if family == "sdxl" else _sd(width)
        parts["vae"] = _vae(128 * width // 320)
    parts["scheduler"] = diffusers.DDIMScheduler(**BETAS, set_alpha_to_one=False, steps_offset=1)
    return write_pipeline(folder, family, parts, torch.bfloat16)


def _sd(width: int) -> dict[str, Any]:
    hidden = 768 * width // 320
    unet = diffusers.UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(width, 2 * width, 4 * width, 4 * width),
        attention_head_dim=8,
        cross_attention_dim=hidden,
    )
    config = clip_config(hidden, layers=12, heads=hidden // 64, projection=hidden, widen=4)
    return {"unet": unet, "text_encoder": CLIPTextModel(config)}


def _sdxl(width: int) -> dict[str, Any]:
    unet = diffusers.UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(width, 2 * width, 4 * width),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(5, 10, 20),
        transformer_layers_per_block=(1, 2, 10),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=6 * 256 + 1280,
    )
    first = clip_config(768, layers=12, heads=12, projection=768, widen=4)
    second = clip_config(1280, act="gelu", layers=32, heads=20, projection=1280, widen=4)
    return {
        "unet": unet,
        "text_encoder": CLIPTextModel(first),
        "text_encoder_2": CLIPTextModelWithProjection(second),
    }


def _vae(width: int) -> Any:
    return scaled(
        diffusers.AutoencoderKL(
            block_out_channels=(width, 2 * width, 4 * width, 4 * width),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
            layers_per_block=2,
            sample_size=512,
        )
    )
