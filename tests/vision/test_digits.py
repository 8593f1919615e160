"""The recipe on real scans: scikit-learn's digits."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tuneyard.datasets import Report
from tuneyard.trainer.run import DatasetFiles
from tuneyard.vision.classifier import train
from tuneyard.vision.config import Augmentation

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@pytest.fixture
def digits(tmp_path: Path) -> DatasetFiles:
    from sklearn.datasets import load_digits

    scans = load_digits()
    for number, (scan, digit) in enumerate(zip(scans.images, scans.target, strict=True)):
        folder = tmp_path / "digits" / str(digit)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((scan * 15.9).astype(np.uint8)).save(folder / f"{number:04d}.png")
    return DatasetFiles(tmp_path / "digits", hashlib.sha256(b"digits").hexdigest(), Report("image-folder"))


def test_digits_are_recognised(digits, configure, start) -> None:
    config = configure(
        architecture="resnet18",
        dropout=None,
        epochs=4,
        batch_size=32,
        augmentation=Augmentation(crop_min_scale=0.8),
    )
    run = start(digits, cpu_threads=2)
    result = train(config, run)
    assert result.metrics["eval/accuracy_top1"] >= 0.97
