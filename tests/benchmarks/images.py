"""Real scans as an image folder: scikit-learn's digits, enlarged to the side that a benchmark needs."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def digits_folder(
    root: Path, *, side: int, classes: int, train: int, validation: int, first: int = 0
) -> Path:
    """Writes `train` and `validation` images of digits 0 … classes - 1 as JPEG into `root`, once.

    Samples are dealt to the classes in turn, so that the splits are balanced.
    """
    if root.exists():
        return root
    digits = load_digits()
    by_class = [np.flatnonzero(digits.target == number)[first:] for number in range(classes)]
    for split, start, count in (("train", 0, train), ("val", train, validation)):
        for index in range(start, start + count):
            number, place = index % classes, index // classes
            path = root / split / f"digit_{number}" / f"{place:04d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            grey = (digits.images[by_class[number][place]] * (255 / 16)).astype(np.uint8)
            image = Image.fromarray(grey).resize((side, side), Image.Resampling.BICUBIC)
            image.convert("RGB").save(path, quality=90)
    return root
