"""Small image datasets that are drawn, runs that keep what was reported, and settings of quick trainings."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.charts import charts, white_charts
from tests.support.shapes import Drawing, write_shapes
from tuneyard.datasets import Report
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import DatasetFiles
from tuneyard.vision.config import ClassifierConfig
from tuneyard.vision.detector_config import DetectionAugmentation, DetectorConfig

__all__ = ["charts", "white_charts"]

Draw = Callable[..., DatasetFiles]
DrawAt = Callable[[Path], Draw]
Configure = Callable[..., ClassifierConfig]
Start = Callable[..., FakeRun]


def _image(generator: np.random.Generator, number: int, classes: int, side: int) -> Image.Image:
    """Noise with a bright band, whose place tells the class."""
    pixels = generator.integers(0, 90, (side, side, 3), dtype=np.uint8)
    top = side * number // classes
    pixels[top : top + max(1, side // classes)] += 130
    return Image.fromarray(pixels)


@pytest.fixture(scope="session")
def draw_at() -> DrawAt:
    """What `draw` is, at another place: `draw_at(folder)("train")`."""
    return lambda place: partial(_drawn, place)


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Draws an image folder: `draw("train", classes=3, per_class=10, side=16, splits=("train", "val"))`."""
    return partial(_drawn, tmp_path)


def _drawn(
    place: Path,
    name: str = "data",
    *,
    classes: int = 3,
    per_class: int = 10,
    side: int = 16,
    splits: tuple[str, ...] = ("train", "val"),
    extra: Callable[[Path], None] = lambda root: None,
) -> DatasetFiles:
    root = place / name
    generator = np.random.default_rng(7)
    for split in splits or ("",):
        for number in range(classes):
            folder = root / split / f"class_{number}"
            folder.mkdir(parents=True)
            for index in range(per_class):
                _image(generator, number, classes, side).save(folder / f"{index:03d}.png")
    extra(root)
    return DatasetFiles(root, hashlib.sha256(str(root).encode()).hexdigest(), Report("image-folder"))


@pytest.fixture(scope="session")
def configure() -> Configure:
    """Settings of a small, quick training; keywords change them."""
    small = ClassifierConfig(
        architecture="squeezenet1_1",
        base_model="squeezenet1_1",
        pretrained=False,
        image_size=32,
        epochs=2,
        batch_size=8,
        learning_rate=1e-3,
        precision="fp32",
        dropout=0.2,
        class_weights={},
    )

    def configured(**changes: Any) -> ClassifierConfig:
        return replace(small, **changes)

    return configured


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """A run on a dataset; keywords go to `FakeRun`."""

    def started(files: DatasetFiles, **options: Any) -> FakeRun:
        options.setdefault("root", tmp_path / "run")
        return FakeRun(training_files=files, **{"cpu_threads": 1, "keep_last": 100} | options)

    return started


ConfigureDetector = Callable[..., DetectorConfig]


@pytest.fixture(scope="session")
def shapes_at() -> DrawAt:
    """What `shapes` is, at another place: `shapes_at(folder)("data")`."""
    return lambda place: partial(_shapes, place)


@pytest.fixture
def shapes(tmp_path: Path) -> Draw:
    """Draws circles, squares and triangles as a YOLO set: `shapes("data", train=12, val=4, side=64)`."""
    return partial(_shapes, tmp_path)


def _shapes(
    place: Path,
    name: str = "shapes",
    *,
    train: int = 12,
    val: int = 4,
    side: int = 64,
    extra: Callable[[Path], None] = lambda root: None,
) -> DatasetFiles:
    root = write_shapes(place / name, train=train, val=val, drawing=Drawing(size=(side, side)))
    extra(root)
    return DatasetFiles(root, hashlib.sha256(str(root).encode()).hexdigest(), Report("yolo"))


@pytest.fixture
def configure_detector() -> ConfigureDetector:
    """Settings of a small, quick training of a detector; keywords change them."""
    small = DetectorConfig(
        architecture="yolov8n",
        base_model="yolov8n",
        pretrained=False,
        image_size=64,
        epochs=2,
        batch_size=4,
        precision="fp32",
        close_mosaic_epochs=1,
        augmentation=DetectionAugmentation(degrees=10, mixup=0.3, vertical_flip=0.5),
        class_weights={},
    )

    def configured(**changes: Any) -> DetectorConfig:
        return replace(small, **changes)

    return configured
