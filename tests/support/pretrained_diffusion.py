"""A tiny Stable Diffusion that has seen photographs for some seconds, and drawings in styles new to it.

It is kept between test runs. A model of random weights learns the same of any picture: that noise is noise.
One that knows photographs has something to learn of a style.
"""

import hashlib
import inspect
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import diffusers as untyped_diffusers
import numpy as np
import torch
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.nn import functional

from tests.support.tiny_diffusion import tiny_sd
from tests.support.tiny_llm import CACHE, of_this_python
from tuneyard.diffusion.models import load_text
from tuneyard.diffusion.pipeline import open_pipeline

diffusers: Any = untyped_diffusers
SIDE = 64
STYLES = ("striped", "banded")
CAPTION = "a picture"
"""Of everything: what is learned of a style is not learned of a word."""
_STEPS, _PEAK_RATE, _BATCH, _SEEN = 200, 3e-3, 16, 256
_CERTAIN = -20.0
"""A logarithm of a variance that leaves latents as they are."""


def drawn(style: str, seed: int) -> Image.Image:
    """A picture in one of the styles: yellow stripes on red, or pale bands on blue, narrower and wider."""
    draw = random.Random(f"{style}:{seed}")
    pitch, tint = draw.randint(12, 20), draw.randint(0, 40)
    ground, colour = {
        "striped": ((220, 40, 20 + tint), (250, 220, 40)),
        "banded": ((20, 60, 130 + tint), (150, 255, 200)),
    }[style]
    image = Image.new("RGB", (SIDE, SIDE), ground)
    for x in range(-draw.randrange(pitch), SIDE, pitch):
        ImageDraw.Draw(image).rectangle((x, 0, x + pitch // 2, SIDE), fill=colour)
    return image if style == "striped" else image.transpose(Image.Transpose.ROTATE_90)


def pretrained_sd(folder: Path) -> Path:
    """Copies the pre-trained pipeline to a folder; computes it first where nobody has."""
    identity = hashlib.sha256(f"{of_this_python()} {inspect.getsource(sys.modules[__name__])}".encode())
    kept = CACHE / f"sd-{identity.hexdigest()[:12]}"
    if not kept.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=CACHE))
        _pretrain(tiny_sd(fresh))
        try:
            os.rename(fresh, kept)
        except OSError:  # somebody else was faster
            shutil.rmtree(fresh)
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    return folder


def _pretrain(folder: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        latents = _seen_latents(folder)
        unet = diffusers.UNet2DConditionModel(
            sample_size=SIDE // 8,
            block_out_channels=(32, 64),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D",) * 2,
            up_block_types=("CrossAttnUpBlock2D",) * 2,
            norm_num_groups=4,
            attention_head_dim=2,
            cross_attention_dim=32,
        )
        process = diffusers.DDPMScheduler.from_pretrained(folder / "scheduler")
        text = load_text(open_pipeline(folder), dtype=torch.float32, device=torch.device("cpu"))
        with torch.no_grad():
            caption = text.encode([CAPTION] * _BATCH).hidden
        optimizer = torch.optim.AdamW(unet.parameters(), lr=_PEAK_RATE)
        course = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK_RATE, total_steps=_STEPS)
        for _ in range(_STEPS):
            chosen = latents[torch.randint(len(latents), (_BATCH,))]
            noise, times = torch.randn_like(chosen), torch.randint(1000, (_BATCH,))
            predicted = unet(process.add_noise(chosen, noise, times), times, caption).sample
            torch.autograd.backward(functional.mse_loss(predicted, noise))
            optimizer.step()
            optimizer.zero_grad()
            course.step()
        unet.save_pretrained(folder / "unet")


@torch.no_grad()
def _seen_latents(folder: Path) -> Tensor:
    """The photographs' latents. The VAE's weights stay random, which tells colours and textures apart all the
    same, but for its last layer: the latents get a mean of 0 and a deviation of 1 in each channel.

    As it was made, channels' means are larger than what tells pictures apart, and so is the doubt about each.
    """
    vae = diffusers.AutoencoderKL.from_pretrained(folder / "vae")
    photographs, last, channels = _photographs(), vae.quant_conv, vae.config.latent_channels
    found = vae.encode(photographs).latent_dist.mean
    mean, deviation = found.mean(dim=(0, 2, 3)), found.std(dim=(0, 2, 3))
    last.weight[:channels] /= deviation.reshape(-1, 1, 1, 1)
    last.bias[:channels] = (last.bias[:channels] - mean) / deviation
    last.weight[channels:], last.bias[channels:] = 0.0, _CERTAIN
    vae.register_to_config(scaling_factor=1.0)
    vae.save_pretrained(folder / "vae")
    latents: Tensor = vae.encode(photographs).latent_dist.mean
    return latents


def _photographs() -> Tensor:
    """Parts of two photographs, near and far."""
    draw, sources = random.Random(0), [Image.fromarray(each) for each in load_sample_images().images]
    found = []
    for _ in range(_SEEN):
        side, source = draw.randint(SIDE, 400), draw.choice(sources)
        left, top = draw.randint(0, source.width - side), draw.randint(0, source.height - side)
        part = source.crop((left, top, left + side, top + side)).resize((SIDE, SIDE))
        found.append(np.asarray(part, dtype=np.float32))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2) / 127.5 - 1
