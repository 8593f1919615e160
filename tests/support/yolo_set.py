"""A clean YOLO dataset, drawn from seeds, in files that tests change before they are written."""

import io
from collections.abc import Mapping
from functools import cache

from tests.support.shapes import CLASSES, Drawing, draw_shapes, label_text

Files = dict[str, bytes]

DRAWING = Drawing(size=(96, 96), max_shapes=3, smallest=0.2, largest=0.42)
YAML = "data.yaml"


@cache
def _drawn(seed: int) -> tuple[bytes, bytes]:
    """An image with every class, and its label."""
    image, shapes = draw_shapes(seed, DRAWING, labels=range(len(CLASSES)))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue(), label_text(shapes, DRAWING.size).encode()


def data_yaml(train: str = "images/train", val: str = "images/val") -> bytes:
    """A data.yaml in five lines: train, val, an empty one, nc and names."""
    return f"train: {train}\nval: {val}\n\nnc: {len(CLASSES)}\nnames: [{', '.join(CLASSES)}]\n".encode()


def clean_files(*, train: int = 42, val: int = 6) -> Files:
    """A dataset in the layout `images/train` and `labels/train`; every image holds each class once."""
    files: Files = {YAML: data_yaml()}
    seeds = [seed for seed in range(2 * (train + val)) if _drawn(seed)[1].count(b"\n") == len(CLASSES)]
    for position, seed in enumerate(seeds[: train + val]):
        split, number = ("train", position) if position < train else ("val", position - train)
        image, label = _drawn(seed)
        files[f"images/{split}/{number:04d}.png"] = image
        files[f"labels/{split}/{number:04d}.txt"] = label
    return files


def renamed(files: Mapping[str, bytes], *pairs: tuple[str, str]) -> Files:
    """The files with parts of their names replaced."""
    moved: Files = {}
    for name, data in files.items():
        moved_name = name
        for old, new in pairs:
            moved_name = moved_name.replace(old, new)
        moved[moved_name] = data
    return moved


def drawn_jpeg(seed: int) -> bytes:
    """An image that is not in the clean dataset."""
    image, _ = draw_shapes(seed, DRAWING, labels=(0, 1, 2))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
