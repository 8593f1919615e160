"""Image folders with a planted defect in one file: what is planted, and where its finding has to be.

Everything is drawn from seeds, and the clean set has nothing to find. Whole sets: `defects_image_sets`.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from tuneyard.datasets import Code

Files = dict[str, bytes]
Place = tuple[Code, str | None]

SIDE = 72
NEVER_DRAWN = 10_000
"""Seeds from here on are not those of the clean set."""


@dataclass(frozen=True)
class Defect:
    """Something wrong with a clean set, and every finding that has to come of it."""

    name: str
    plant: Callable[[Files], None]
    places: frozenset[Place]


def picture(seed: int, *, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """Coloured patches with sharp grain, like no other seed's: what a photograph is to a check."""
    random = np.random.default_rng(seed)
    patches = Image.fromarray(random.integers(30, 226, (6, 6, 3), dtype=np.uint8))
    smooth = np.asarray(patches.resize(size, Image.Resampling.BICUBIC), dtype=np.int16)
    grain = random.integers(-28, 29, (size[1], size[0], 1), dtype=np.int16)
    return Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    """The image as the bytes of a file."""
    sink = io.BytesIO()
    image.save(sink, format, **options)
    return sink.getvalue()


def clean_set() -> Files:
    """Two classes with 100 images each for training and 20 for validation, every other one a JPEG."""
    files: Files = {}
    for split, count in (("train", 100), ("val", 20)):
        for name in ("cat", "dog"):
            for number in range(count):
                format, extension = (("JPEG", "jpg"), ("PNG", "png"))[number % 2]
                files[f"{split}/{name}/{number:03}.{extension}"] = encoded(picture(len(files)), format)
    return files


def flat_set() -> Files:
    """The clean set's training images with their classes at the root, to be split."""
    return {
        name.removeprefix("train/"): data for name, data in clean_set().items() if name.startswith("train/")
    }


def _one(name: str, code: Code, path: str, data: Callable[[], bytes], *others: Place) -> Defect:
    def plant(files: Files) -> None:
        files[path] = data()

    return Defect(name, plant, frozenset({(code, path), *others}))


_SKIPPED: Place = (Code.IMAGES_SKIPPED, None)


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


def _bomb() -> bytes:
    header = bytearray(encoded(picture(NEVER_DRAWN), "BMP"))
    header[18:26] = (60_000).to_bytes(4, "little") * 2
    return bytes(header)


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(picture(NEVER_DRAWN + 1), "JPEG", exif=exif)


def _transparent() -> Image.Image:
    image = picture(NEVER_DRAWN + 2)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def _transparent_palette() -> bytes:
    return encoded(picture(NEVER_DRAWN + 3).quantize(32), "GIF", transparency=3)


def _frames(format: str, seed: int) -> bytes:
    more = [picture(NEVER_DRAWN + seed + number) for number in (1, 2)]
    return encoded(picture(NEVER_DRAWN + seed), format, save_all=True, append_images=more)


def _nearly_black() -> bytes:
    noise = np.random.default_rng(1).integers(0, 5, (SIDE, SIDE, 3), dtype=np.uint8)
    return encoded(Image.fromarray(noise), "JPEG")


def _blurred() -> bytes:
    image = picture(NEVER_DRAWN + 40, size=(256, 256))
    return encoded(image.filter(ImageFilter.GaussianBlur(10)), "JPEG")


IMAGE_DEFECTS: tuple[Defect, ...] = (
    _one("empty file", Code.IMAGE_EMPTY, "train/cat/empty.png", lambda: b"", _SKIPPED),
    _one("text", Code.IMAGE_UNREADABLE, "train/cat/text.png", lambda: b"this is text", _SKIPPED),
    _one(
        "JPEG cut off",
        Code.IMAGE_TRUNCATED,
        "train/cat/cut.jpg",
        lambda: encoded(picture(NEVER_DRAWN + 50), "JPEG")[:-300],
        _SKIPPED,
    ),
    _one(
        "PNG cut off",
        Code.IMAGE_TRUNCATED,
        "val/dog/cut.png",
        lambda: encoded(picture(NEVER_DRAWN + 51))[:2000],
        _SKIPPED,
    ),
    _one(
        "flipped byte",
        Code.IMAGE_UNREADABLE,
        "train/dog/flipped.png",
        lambda: _flipped(encoded(picture(NEVER_DRAWN + 52))),
        _SKIPPED,
    ),
    _one("bomb", Code.IMAGE_TOO_LARGE, "train/cat/bomb.bmp", _bomb, _SKIPPED),
    _one(
        "JPEG called PNG",
        Code.IMAGE_WRONG_EXTENSION,
        "train/cat/photo.png",
        lambda: encoded(picture(NEVER_DRAWN + 53), "JPEG"),
    ),
    _one(
        "image of another extension",
        Code.IMAGE_WRONG_EXTENSION,
        "train/cat/photo.dat",
        lambda: encoded(picture(NEVER_DRAWN + 54)),
    ),
    _one("turned by EXIF", Code.IMAGE_ROTATED, "train/cat/turned.jpg", _turned),
    _one(
        "one pixel",
        Code.IMAGE_VERY_SMALL,
        "train/dog/dot.png",
        lambda: encoded(Image.new("RGB", (1, 1), "red")),
    ),
    _one(
        "huge",
        Code.IMAGE_VERY_LARGE,
        "train/dog/huge.jpg",
        lambda: encoded(picture(NEVER_DRAWN + 55, size=(8200, 500)), "JPEG"),
    ),
    _one(
        "long and thin",
        Code.IMAGE_EXTREME_SHAPE,
        "train/dog/line.png",
        lambda: encoded(picture(NEVER_DRAWN + 56, size=(400, 10))),
    ),
    _one(
        "grey among coloured ones",
        Code.IMAGE_COLOUR_UNLIKE_OTHERS,
        "val/cat/grey.jpg",
        lambda: encoded(picture(NEVER_DRAWN + 57).convert("L"), "JPEG"),
    ),
    _one(
        "colours of a printer",
        Code.IMAGE_CMYK,
        "train/cat/print.jpg",
        lambda: encoded(picture(NEVER_DRAWN + 58).convert("CMYK"), "JPEG"),
    ),
    _one(
        "transparent pixels",
        Code.IMAGE_TRANSPARENT,
        "train/cat/icon.png",
        lambda: encoded(_transparent()),
    ),
    _one("transparent palette", Code.IMAGE_TRANSPARENT, "train/dog/icon.gif", _transparent_palette),
    _one("animation", Code.IMAGE_SEVERAL_FRAMES, "train/cat/moving.gif", lambda: _frames("GIF", 60)),
    _one("several pages", Code.IMAGE_SEVERAL_FRAMES, "train/dog/pages.tif", lambda: _frames("TIFF", 70)),
    _one(
        "white all over",
        Code.IMAGE_BLANK,
        "train/cat/white.png",
        lambda: encoded(Image.new("RGB", (SIDE, SIDE), "white")),
    ),
    _one("lens cap", Code.IMAGE_BLANK, "val/dog/black.jpg", _nearly_black),
    _one("strongly blurred", Code.IMAGE_BLURRED, "train/dog/blurred.jpg", _blurred),
    _one(
        "copy in its class",
        Code.DUPLICATE_IMAGE,
        "train/cat/x-copy.png",
        lambda: clean_set()["train/cat/001.png"],
    ),
    _one(
        "copy in another split",
        Code.DUPLICATE_ACROSS_SPLITS,
        "val/cat/x-copy.png",
        lambda: clean_set()["train/cat/003.png"],
    ),
    _one(
        "copy in another class",
        Code.DUPLICATE_IN_CLASSES,
        "train/dog/x-copy.png",
        lambda: clean_set()["train/cat/005.png"],
    ),
    _one(
        "saved again",
        Code.NEAR_DUPLICATE_IMAGE,
        "train/cat/x-saved.jpg",
        lambda: encoded(picture(7), "JPEG", quality=60),
    ),
    _one(
        "scaled into another split",
        Code.NEAR_DUPLICATE_ACROSS_SPLITS,
        "val/cat/x-scaled.png",
        lambda: encoded(picture(9).resize((108, 108), Image.Resampling.LANCZOS)),
    ),
    _one(
        "brightened into another class",
        Code.NEAR_DUPLICATE_IN_CLASSES,
        "train/dog/x-bright.png",
        lambda: encoded(picture(11).point(lambda value: value * 1.08)),
    ),
    _one(
        "mirrored into another split",
        Code.NEAR_DUPLICATE_ACROSS_SPLITS,
        "val/dog/x-mirrored.jpg",
        lambda: encoded(ImageOps.mirror(picture(101)), "JPEG", quality=80),
    ),
    _one(
        "image outside of classes",
        Code.IMAGE_OUTSIDE_CLASS,
        "train/stray.png",
        lambda: encoded(picture(NEVER_DRAWN + 80)),
    ),
    _one("notes", Code.FILE_NOT_AN_IMAGE, "train/cat/notes.txt", lambda: b"notes"),
)
"""Defects of single files: all of them may be planted into one clean set together."""
