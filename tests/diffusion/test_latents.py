"""Latents and embeddings of captions: kept ones are those that would be computed anew."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.tiny_diffusion import FAMILIES, Family
from tuneyard.diffusion.denoiser import Frame, sample_losses
from tuneyard.diffusion.latents import FreshLatents, FreshTexts, keep_latents, keep_texts
from tuneyard.diffusion.models import load_denoiser, load_text
from tuneyard.diffusion.noise import draw_noise
from tuneyard.diffusion.pipeline import Pipeline, open_pipeline
from tuneyard.diffusion.tensor_cache import keep_tensors
from tuneyard.trainer.errors import Stop, Stopped
from tuneyard.trainer.fake_run import FakeRun

TinyPipelines = Callable[[Family], Path]
CPU = torch.device("cpu")
CAPTIONS = ["a red circle", "", "two striped cats"]


def pictures(count: int = 3) -> dict[str, Callable[[], Tensor]]:
    source = torch.Generator().manual_seed(0)
    made = [torch.rand(3, 64, 32, generator=source) * 2 - 1 for _ in range(count)]
    return {f"picture-{number}": lambda pixels=pixels: pixels for number, pixels in enumerate(made)}


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_with_kept_latents_and_texts_are_those_without(
    tiny_pipelines: TinyPipelines, family: Family, tmp_path: Path
) -> None:
    pipeline, run = open_pipeline(tiny_pipelines(family)), FakeRun(root=tmp_path)
    fresh = (
        FreshLatents(pipeline.load_vae(device=CPU)),
        FreshTexts(load_text(pipeline, dtype=torch.float32, device=CPU)),
    )
    kept = (
        keep_latents(pictures(), pipeline, device=CPU, run=run),
        keep_texts(CAPTIONS, pipeline, dtype=torch.float32, device=CPU, run=run),
    )
    torch.testing.assert_close(losses(pipeline, *kept), losses(pipeline, *fresh), atol=1e-6, rtol=1e-6)


def losses(pipeline: Pipeline, latents: Any, texts: Any) -> Tensor:
    denoiser = load_denoiser(pipeline, dtype=torch.float32, device=CPU)
    source = torch.Generator().manual_seed(7)
    drawn = torch.stack([latents.moments(key, read).draw(source) for key, read in pictures().items()])
    noise = torch.stack([draw_noise(tuple(drawn.shape[1:]), generator=source) for _ in drawn])
    times = torch.tensor([denoiser.process.draw_time(source) for _ in drawn])
    frames = [Frame((64, 32), (0, 0), (64, 32))] * len(drawn)
    with torch.no_grad():
        return sample_losses(denoiser, drawn, noise, times, text=texts.encoded(CAPTIONS), frames=frames)


def test_kept_latents_are_the_same_to_the_bit(tiny_pipelines: TinyPipelines, tmp_path: Path) -> None:
    pipeline = open_pipeline(tiny_pipelines("sd"))
    kept = keep_latents(pictures(), pipeline, device=CPU, run=FakeRun(root=tmp_path))
    fresh = FreshLatents(pipeline.load_vae(device=CPU))
    for key, read in pictures().items():
        assert all(map(torch.equal, kept.moments(key, read), fresh.moments(key, read)))


def test_latents_are_scaled_as_the_training_examples_scale_them(tiny_pipelines: TinyPipelines) -> None:
    vae: Any = open_pipeline(tiny_pipelines("sd3")).load_vae(device=CPU)
    pixels = pictures(1)["picture-0"]()
    with torch.no_grad():
        mean = vae.encode(pixels.unsqueeze(0)).latent_dist.mean[0]
    expected = (mean - vae.config.shift_factor) * vae.config.scaling_factor
    torch.testing.assert_close(FreshLatents(vae).encode(pixels).mean, expected)


def test_draws_of_latents_follow_their_generator(tiny_pipelines: TinyPipelines) -> None:
    vae = open_pipeline(tiny_pipelines("sd")).load_vae(device=CPU)
    moments = FreshLatents(vae).encode(pictures(1)["picture-0"]())
    first, again, other = (moments.draw(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_second_job_encodes_nothing(tiny_pipelines: TinyPipelines, tmp_path: Path) -> None:
    pipeline, run = open_pipeline(tiny_pipelines("sd")), FakeRun(root=tmp_path)
    keep_latents(pictures(), pipeline, device=CPU, run=run)

    def unread() -> Tensor:
        raise AssertionError("the image was read again")

    again = keep_latents(dict.fromkeys(pictures(), unread), pipeline, device=CPU, run=run)
    assert again.moments("picture-0", unread).mean.shape == (4, 8, 4)


def test_one_more_key_leaves_most_of_the_others_as_they_are(tmp_path: Path) -> None:
    run, computed = FakeRun(root=tmp_path), []

    def compute(key: str) -> dict[str, Tensor]:
        computed.append(key)
        return {"value": torch.tensor([float(len(computed))])}

    keys = [f"key-{number}" for number in range(100)]
    keep_tensors("numbers", keys, compute, model="m", run=run)
    computed.clear()
    keep_tensors("numbers", [*keys, "new"], compute, model="m", run=run)
    assert "new" in computed
    assert len(computed) < 10


def test_another_model_computes_anew(tmp_path: Path) -> None:
    run = FakeRun(root=tmp_path)
    stores = [
        keep_tensors("numbers", ["key"], lambda _, v=v: {"value": torch.tensor(v)}, model=str(v), run=run)
        for v in (1.0, 2.0)
    ]
    assert [store.get("key", "value") for store in stores] == [1.0, 2.0]


def test_a_stop_comes_between_two_images(tmp_path: Path) -> None:
    run = FakeRun(root=tmp_path, stop=Stop.CANCEL)
    with pytest.raises(Stopped):
        keep_tensors("numbers", ["a", "b"], lambda _: {"value": torch.zeros(1)}, model="m", run=run)


def test_what_was_not_kept_is_not_made_up(tiny_pipelines: TinyPipelines, tmp_path: Path) -> None:
    pipeline, run = open_pipeline(tiny_pipelines("sd")), FakeRun(root=tmp_path)
    texts = keep_texts(["a cat"], pipeline, dtype=torch.float32, device=CPU, run=run)
    with pytest.raises(KeyError):
        texts.encoded(["a dog"])
