"""Latents become pictures in tiles where the device has no memory for the whole."""

from typing import Any

import pytest
import torch

from tuneyard.diffusion.decoding import decoded
from tuneyard.diffusion.pipeline import open_pipeline


@pytest.fixture
def vae(tiny_pipelines: Any) -> Any:
    loaded: Any = open_pipeline(tiny_pipelines("sd")).load_vae(device=torch.device("cpu"))
    # As SDXL's, whose own tiles are as large as its pictures.
    loaded.tile_latent_min_size, loaded.tile_sample_min_size = 128, 1024
    return loaded


def with_room_for(vae: Any, monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    """Has the decoder run out of memory on larger latents."""
    decode = vae.decoder.forward

    def limited(latents: torch.Tensor, *rest: Any) -> Any:
        if latents.shape[-1] > side:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(latents, *rest)

    monkeypatch.setattr(vae.decoder, "forward", limited)


def latents(side: int) -> torch.Tensor:
    return torch.randn((1, 4, side, side), generator=torch.Generator().manual_seed(0))


def test_a_picture_that_does_not_fit_is_decoded_in_tiles(vae: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = decoded(vae, latents(80))
    with_room_for(vae, monkeypatch, 64)
    tiled = decoded(vae, latents(80))
    assert tiled.shape == whole.shape
    # Where no other tile begins, they are the same but for norms, which are taken over a tile.
    assert (tiled - whole).abs().mean() < 0.5 * (whole - whole.mean()).abs().mean()


def test_one_of_which_no_tile_fits_says_so(vae: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with_room_for(vae, monkeypatch, 8)
    for side in (16, 80):
        with pytest.raises(torch.OutOfMemoryError):
            decoded(vae, latents(side))
