"""Latents as pictures: what the VAE makes of them, in tiles where memory does not suffice for the whole."""

from typing import Any

import torch
from torch import Tensor

from tuneyard.trainer.oom import free_memory, is_out_of_memory

_TILED_FROM_PX = 1024
"""A side from which the VAE decodes in tiles of its own size: larger pictures than it was made for would
need more memory than the rest of the model."""
_SMALL_TILE = 64
"""Positions of latents a side, 512 px of the published VAEs, where that size is too large."""


@torch.no_grad()
def decoded(vae: Any, latents: Tensor) -> Tensor:
    """The picture of one image's latents, (1, channels, height, width): (3, height, width), from -1 to 1."""
    config = vae.config
    shift = getattr(config, "shift_factor", None) or 0.0
    scale = int(2 ** (len(config.block_out_channels) - 1))
    unscaled = latents.float() / config.scaling_factor + shift
    if max(latents.shape[-2:]) * scale >= _TILED_FROM_PX:
        vae.enable_tiling()
    try:
        whole: Tensor = vae.decode(unscaled, return_dict=False)[0]
        return whole[0]
    except Exception as error:
        if not is_out_of_memory(error) or max(latents.shape[-2:]) <= _SMALL_TILE:
            raise
    # The error ends before: its traceback keeps the tensors alive that did not fit.
    free_memory()
    vae.tile_latent_min_size, vae.tile_sample_min_size = _SMALL_TILE, _SMALL_TILE * scale
    vae.enable_tiling()
    tiled: Tensor = vae.decode(unscaled, return_dict=False)[0]
    return tiled[0]
