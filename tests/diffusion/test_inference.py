"""Finished text-to-image LoRAs, asked as the inference worker asks them."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.finished_diffusion import FinishedTraining, finished_training
from tuneyard.diffusion.inference import open_model
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.finished_model import AnswerCancelled, BadInput, FinishedModel, InferenceError
from tuneyard.v1 import inference_service_pb2 as pb

Ask = Callable[..., pb.GenerateImagesResponse]
PIPELINES = {
    "sd": diffusers.StableDiffusionPipeline,
    "sdxl": diffusers.StableDiffusionXLPipeline,
    "sd3": diffusers.StableDiffusion3Pipeline,
}


def _model(job: FinishedTraining, **changes: Any) -> FinishedModel:
    model = FinishedModel(
        dir=job.artifacts,
        spec=job.spec,
        device="cpu",
        cpu_threads=1,
        base=lambda: job.base,
        base_sha256=job.base_sha256,
    )
    return replace(model, **changes)


def _asker(model: FinishedModel) -> Ask:
    answerer = open_model(model)

    def ask(
        prompt: str = "a red circle", *, check: Callable[[], None] = lambda: None, **settings: Any
    ) -> pb.GenerateImagesResponse:
        request = pb.GenerateImagesRequest(prompt=prompt, **{"steps": 3, "seed": 7, **settings})
        (answer,) = answerer.answer("GenerateImages", request.SerializeToString(), check=check)
        return pb.GenerateImagesResponse.FromString(answer)

    return ask


def _pixels(png: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def _plain(base: Path, artifacts: Path | None, family: str, **settings: Any) -> Any:
    pipe: Any = PIPELINES[family].from_pretrained(base)  # type: ignore[attr-defined]
    if artifacts:
        pipe.load_lora_weights(str(artifacts))
    pipe.set_progress_bar_config(disable=True)
    return np.asarray(
        pipe(
            settings.pop("prompt", "a red circle"),
            num_inference_steps=3,
            guidance_scale=7.5,
            width=64,
            height=64,
            generator=torch.Generator().manual_seed(7),
            **settings,
        ).images[0]
    ).astype(int)


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> FinishedTraining:
    return finished_training(tmp_path_factory.mktemp("lora"), text_encoder=True)


@pytest.fixture(scope="module")
def ask(lora: FinishedTraining) -> Ask:
    return _asker(_model(lora))


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3"])
def test_pictures_are_those_of_plain_diffusers(tmp_path: Path, family: Any) -> None:
    job = finished_training(tmp_path, family, text_encoder=True)
    ask = _asker(_model(job))
    tuned, base = ask().images[0], ask(lora_scale=0).images[0]
    of_diffusers = _plain(job.base, job.artifacts, family)
    assert np.abs(_pixels(tuned.png) - of_diffusers).max() <= 1
    assert np.abs(_pixels(base.png) - _plain(job.base, None, family)).max() <= 1
    assert np.abs(_pixels(tuned.png) - _pixels(base.png)).max() > 3


def test_a_negative_prompt_leads_away_as_in_diffusers(lora: FinishedTraining, ask: Ask) -> None:
    found = ask(negative_prompt="blue").images[0]
    assert (
        np.abs(_pixels(found.png) - _plain(lora.base, lora.artifacts, "sd", negative_prompt="blue")).max()
        <= 1
    )


def test_every_picture_has_a_seed_and_can_be_drawn_again_alone(ask: Ask) -> None:
    several = ask(count=3).images
    assert [image.seed for image in several] == [7, 8, 9]
    assert several[1].png == ask(seed=8).images[0].png
    assert several[0].png != several[1].png


def test_a_scale_between_is_between_and_leaves_no_trace(ask: Ask) -> None:
    before, half, after = (ask(lora_scale=scale).images[0].png for scale in (1, 0.5, 1))
    assert before == after != half


def test_a_picture_says_how_it_was_made(ask: Ask) -> None:
    picture = Image.open(io.BytesIO(ask("ein Kreis ☉", width=64, height=128).images[0].png))
    assert picture.size == (64, 128)
    told = picture.text["parameters"]  # type: ignore[attr-defined]
    assert told.startswith("ein Kreis ☉\nSteps: 3, CFG scale: 7.5, Seed: 7, Size: 64x128")


def test_a_drawn_seed_is_told(ask: Ask, lora: FinishedTraining) -> None:
    answerer = open_model(_model(lora))
    request = pb.GenerateImagesRequest(prompt="x", steps=1).SerializeToString()
    seeds = set()
    for _ in range(2):
        (answer,) = answerer.answer("GenerateImages", request, check=lambda: None)
        seeds.add(pb.GenerateImagesResponse.FromString(answer).images[0].seed)
    assert len(seeds) == 2


def test_sizes_that_cannot_be_drawn_are_told_of_their_field(ask: Ask) -> None:
    with pytest.raises(BadInput) as caught:
        ask(" ", width=100)
    assert [field for field, _ in caught.value.violations] == ["width", "prompt"]


def test_a_cancelled_picture_ends_at_the_next_step(ask: Ask) -> None:
    asked: list[int] = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise AnswerCancelled

    with pytest.raises(AnswerCancelled):
        ask(steps=50, check=check)
    assert len(asked) == 2


def test_another_method_is_not_supported(lora: FinishedTraining) -> None:
    with pytest.raises(InferenceError, match="GenerateImages"):
        list(open_model(_model(lora)).answer("Classify", b"", check=lambda: None))


def test_another_base_than_was_trained_on_is_refused(lora: FinishedTraining) -> None:
    with pytest.raises(RecipeError, match="other weights"):
        open_model(_model(lora, base_sha256="f" * 64))


def test_a_base_that_is_gone_is_told(lora: FinishedTraining) -> None:
    with pytest.raises(RecipeError, match="no longer in the store"):
        open_model(_model(lora, base=lambda: None))


def test_weights_of_another_architecture_have_no_place(tmp_path: Path, lora: FinishedTraining) -> None:
    other = finished_training(tmp_path, "sdxl")
    mixed = _model(lora, dir=other.artifacts, base_sha256="")
    with pytest.raises(RecipeError, match="does not fit"):
        open_model(mixed)


def test_artifacts_without_weights_are_told(tmp_path: Path, lora: FinishedTraining) -> None:
    with pytest.raises(RecipeError, match="no LoRA weights"):
        open_model(_model(lora, dir=tmp_path))
