"""Generated detection data: circles, squares and triangles on textured ground, with their boxes.

Seeded, so that a test's numbers repeat; small enough to train on without an accelerator.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

CLASSES = ("circle", "square", "triangle")

# Far apart in hue; the ground is grey and brown.
_COLOURS = ((214, 48, 49), (9, 132, 227), (0, 184, 88))
_TRIES_PER_SHAPE = 40


class Shape(NamedTuple):
    """A drawn shape: the number of its class and its corners in pixels."""

    label: int
    x_min: float
    y_min: float
    x_max: float
    y_max: float


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How images are drawn."""

    size: tuple[int, int] = (320, 320)
    """Width and height in pixels."""
    max_shapes: int = 4
    """From one to so many shapes an image, which hardly overlap."""
    smallest: float = 0.12
    """The smallest side of a shape, as a share of the image's shorter side."""
    largest: float = 0.40
    colour_per_class: bool = True
    """Each class in a colour of its own is learned fast; without it the shape alone tells the class."""


def draw_shapes(
    seed: int, drawing: Drawing = Drawing(), *, labels: Sequence[int] | None = None
) -> tuple[Image.Image, list[Shape]]:
    """One image and its shapes; `labels` fixes how many there are and of which classes."""
    random = np.random.default_rng(seed)
    image = Image.fromarray(_ground(random, drawing.size))
    pen = ImageDraw.Draw(image)
    if labels is None:
        labels = random.integers(0, len(CLASSES), random.integers(1, drawing.max_shapes + 1)).tolist()
    shapes: list[Shape] = []
    for label in labels:
        shape = _place(random, drawing, label, shapes)
        if shape is not None:
            shapes.append(shape)
            _draw(pen, shape, _colour(random, drawing, label))
    return image, shapes


def label_text(shapes: Sequence[Shape], size: tuple[int, int]) -> str:
    """The lines of a YOLO label file."""
    width, height = size
    lines = []
    for label, x_min, y_min, x_max, y_max in shapes:
        x, y = (x_min + x_max) / 2 / width, (y_min + y_max) / 2 / height
        lines.append(
            f"{label} {x:.6f} {y:.6f} {(x_max - x_min) / width:.6f} {(y_max - y_min) / height:.6f}\n"
        )
    return "".join(lines)


def write_shapes(
    root: Path,
    *,
    train: int = 60,
    val: int = 12,
    test: int = 0,
    seed: int = 0,
    drawing: Drawing = Drawing(),
    layout: Literal["images/train", "train/images"] = "images/train",
    format: Literal["jpg", "png"] = "jpg",
) -> Path:
    """Writes a YOLO dataset with its data.yaml below `root` and returns `root`.

    Image `i` of a split starts with class `i % 3`, so that every class is in every split.
    """
    splits = {name: count for name, count in (("train", train), ("val", val), ("test", test)) if count}
    number = 0
    for split, count in splits.items():
        images, labels = _folders(split, layout)
        (root / images).mkdir(parents=True)
        (root / labels).mkdir(parents=True)
        for position in range(count):
            number += 1
            random = np.random.default_rng((seed, number))
            more = random.integers(0, len(CLASSES), random.integers(0, drawing.max_shapes))
            image, shapes = draw_shapes(
                int(random.integers(1 << 31)), drawing, labels=[position % len(CLASSES), *more.tolist()]
            )
            stem = f"{split}-{position:05d}"
            image.save(root / images / f"{stem}.{format}", quality=92)
            (root / labels / f"{stem}.txt").write_text(label_text(shapes, drawing.size))
    lines = [f"{split}: {_folders(split, layout)[0]}" for split in splits]
    names = ", ".join(CLASSES)
    (root / "data.yaml").write_text("\n".join([*lines, f"nc: {len(CLASSES)}", f"names: [{names}]", ""]))
    return root


def _folders(split: str, layout: str) -> tuple[str, str]:
    """The folders of a split's images and labels."""
    if layout == "images/train":
        return f"images/{split}", f"labels/{split}"
    return f"{split}/images", f"{split}/labels"


def _ground(random: np.random.Generator, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Blotches of a few pixels to a quarter of the image, in muted colours."""
    width, height = size
    ground = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((4, 30.0), (16, 14.0), (64, 8.0)):
        coarse = random.normal(size=(cells, cells, 3)).astype(np.float32)
        # Mostly the same in all channels, so that the ground is nearly grey.
        coarse = coarse.mean(axis=2, keepdims=True) * 1.5 + 0.25 * coarse
        for channel in range(3):
            layer = Image.fromarray(coarse[:, :, channel]).resize((width, height), Image.Resampling.BICUBIC)
            ground[:, :, channel] += strength * np.asarray(layer)
    level = random.uniform(90, 165)
    return np.clip(ground + np.array([level, level - 6, level - 14], np.float32), 0, 255).astype(np.uint8)


def _place(
    random: np.random.Generator, drawing: Drawing, label: int, others: Sequence[Shape]
) -> Shape | None:
    """A free place for a shape, or None where the image is too full."""
    width, height = drawing.size
    for _ in range(_TRIES_PER_SHAPE):
        side = float(random.uniform(drawing.smallest, drawing.largest)) * min(width, height)
        x = float(random.uniform(1, width - side - 1))
        y = float(random.uniform(1, height - side - 1))
        shape = Shape(label, x, y, x + side, y + side)
        if not any(_overlap(shape, other) for other in others):
            return shape
    return None


def _overlap(a: Shape, b: Shape) -> bool:
    return a.x_min < b.x_max and b.x_min < a.x_max and a.y_min < b.y_max and b.y_min < a.y_max


def _colour(random: np.random.Generator, drawing: Drawing, label: int) -> tuple[int, int, int]:
    base = _COLOURS[label] if drawing.colour_per_class else _COLOURS[int(random.integers(len(_COLOURS)))]
    jitter = random.integers(-25, 26, 3)
    red, green, blue = (
        int(np.clip(value + change, 0, 255)) for value, change in zip(base, jitter, strict=True)
    )
    return red, green, blue


def _draw(pen: ImageDraw.ImageDraw, shape: Shape, colour: tuple[int, int, int]) -> None:
    label, x_min, y_min, x_max, y_max = shape
    if CLASSES[label] == "circle":
        pen.ellipse((x_min, y_min, x_max, y_max), fill=colour, outline=(20, 20, 20))
    elif CLASSES[label] == "square":
        pen.rectangle((x_min, y_min, x_max, y_max), fill=colour, outline=(20, 20, 20))
    else:
        corners = [((x_min + x_max) / 2, y_min), (x_max, y_max), (x_min, y_max)]
        pen.polygon(corners, fill=colour, outline=(20, 20, 20))
