"""Tiny pipelines of random weights, made once for all tests, small captioned sets, and quick trainings."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.charts import charts, white_charts
from tests.support.defects_images import encoded, picture
from tests.support.tiny_diffusion import Family, tiny_pipeline
from tuneyard.datasets import check
from tuneyard.diffusion.config import Lora, TextToImageConfig
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import DatasetFiles

__all__ = ["charts", "white_charts"]

TinyPipelines = Callable[[Family], Path]
Upload = Callable[..., DatasetFiles]
Configure = Callable[..., TextToImageConfig]
Start = Callable[..., FakeRun]


@pytest.fixture(autouse=True)
def few_denoising_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn by random weights looks the same after two, and all of it however busy the machine is."""
    monkeypatch.setattr("tuneyard.diffusion.sampling.STEPS_ON_CPU", 2)
    monkeypatch.setattr("tuneyard.diffusion.sampling._SECONDS", float("inf"))
    monkeypatch.setattr("tuneyard.diffusion.merge_proof._STEPS", 2)


@pytest.fixture(scope="session")
def tiny_pipelines(tmp_path_factory: pytest.TempPathFactory) -> TinyPipelines:
    """Folders by family, read-only: `tiny_pipelines("sdxl")`."""
    root = tmp_path_factory.mktemp("pipelines")

    @cache
    def made(family: Family) -> Path:
        return tiny_pipeline(root / family, family)

    return made


@pytest.fixture
def upload(tmp_path: Path) -> Upload:
    """Writes a dataset of pictures: `upload({"a.png": "a caption"})`, or ten of two shapes and sizes."""

    def uploaded(
        captions: Mapping[str, str] | None = None, *, name: str = "data", sha256: str = "a" * 64
    ) -> DatasetFiles:
        root = tmp_path / name
        for seed, (file, caption) in enumerate((captions or some_captions()).items()):
            path = root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            size = (128, 64) if seed % 3 == 2 else (72, 72)
            path.write_bytes(encoded(picture(seed).resize(size)))
            path.with_suffix(".txt").write_text(caption)
        return DatasetFiles(root, sha256, check(root, format="captioned-images"))

    return uploaded


def some_captions() -> dict[str, str]:
    """Of eight pictures to train on and two to hold out."""
    colours = ("red", "green", "blue", "yellow", "black", "white", "pink", "grey", "orange", "purple")
    splits = ("train",) * 8 + ("val",) * 2
    return {
        f"{split}/{number}.png": f"a {colour} circle"
        for number, (split, colour) in enumerate(zip(splits, colours, strict=True))
    }


@pytest.fixture
def configure() -> Configure:
    """Settings of a small, quick training; keywords change them."""

    def configured(**changes: Any) -> TextToImageConfig:
        small = TextToImageConfig(
            base_model="models/tiny",
            lora=Lora(r=4, alpha=4.0),
            resolution=64,
            epochs=2,
            batch_size=2,
            gradient_accumulation_steps=1,
            learning_rate=1e-3,
            precision="fp32",
            validation_prompts=("a red circle",),
            sample_steps=1000,
        )
        return replace(small, **changes)

    return configured


@pytest.fixture
def start(tmp_path: Path, tiny_pipelines: TinyPipelines) -> Start:
    """A run on a dataset with a tiny base: `start(files, family="sdxl")`; keywords go to `FakeRun`."""

    def started(files: DatasetFiles, *, family: Family = "sd", **options: Any) -> FakeRun:
        defaults = {
            "root": tmp_path / "run",
            "cpu_threads": 1,
            "keep_last": 100,
            "base_model_files": tiny_pipelines(family),
        }
        return FakeRun(training_files=files, **defaults | options)

    return started
