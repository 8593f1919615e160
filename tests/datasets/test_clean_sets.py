"""Real scans, photographs and drawings that are sound: no image of theirs is complained about."""

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits, load_sample_images

from tuneyard.datasets import check


def digits(side: int) -> Iterator[tuple[str, Image.Image]]:
    """Scans that are alike by nature: 1,797 of ten digits, 8 pixels wide."""
    scans = load_digits()
    for scan, target in zip(scans.images, scans.target, strict=True):
        image = Image.fromarray((scan * (255 / 16)).astype(np.uint8))
        yield f"digit-{target}", image.resize((side, side), Image.Resampling.BICUBIC)


def drawings(count: int) -> Iterator[tuple[str, Image.Image]]:
    """Flat shapes of one colour on white: hardly any detail to tell them apart by."""
    random = np.random.default_rng(5)
    for number in range(count):
        image = Image.new("RGB", (96, 96), "white")
        draw = ImageDraw.Draw(image)
        x, y, width = (int(value) for value in random.integers((8, 8, 16), (40, 40, 48)))
        colour = tuple(int(value) for value in random.integers(0, 230, 3))
        kind = ("circle", "square")[number % 2]
        (draw.ellipse if kind == "circle" else draw.rectangle)((x, y, x + width, y + width), fill=colour)
        yield kind, image


def photographs() -> Iterator[tuple[str, Image.Image]]:
    """What ships with packages that are installed, and each ninth of each of them."""
    found = [Image.fromarray(image) for image in load_sample_images().images]
    ultralytics = find_spec("ultralytics")
    for folder in (ultralytics.submodule_search_locations if ultralytics else None) or ():
        found += [Image.open(path) for path in sorted(Path(folder).glob("assets/*.jpg"))]
    for image in found:
        yield "whole", image
        width, height = image.width // 3, image.height // 3
        for place in range(9):
            left, top = place % 3 * width, place // 3 * height
            yield "part", image.crop((left, top, left + width, top + height))


def complaints(images: Iterable[tuple[str, Image.Image]], root: Path, *, extension: str) -> set[str]:
    """The codes of findings about images."""
    for number, (name, image) in enumerate(images):
        (root / name).mkdir(exist_ok=True)
        image.save(root / name / f"{number:04}.{extension}")
    counts = check(root, format="image-folder").counts
    return {code for code in counts if "IMAGE" in code or "DUPLICATE" in code or "ALIKE" in code}


@pytest.mark.parametrize("side", [8, 64, 128])
def test_scanned_digits_are_neither_copies_nor_blurred(tmp_path: Path, side: int) -> None:
    assert complaints(digits(side), tmp_path, extension="png") == set()


@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_drawn_shapes_are_neither_copies_nor_blank(tmp_path: Path, extension: str) -> None:
    assert complaints(drawings(800), tmp_path, extension=extension) == set()


def test_photographs_and_their_parts_are_all_different(tmp_path: Path) -> None:
    assert complaints(photographs(), tmp_path, extension="jpg") == set()
