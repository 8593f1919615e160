"""Draws what a model says onto pictures: boxes with labels, or one label in a corner."""

import colorsys
import hashlib
import io
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias

from PIL import Image, ImageDraw, ImageFont

from tuneyard.datasets.orientation import upright
from tuneyard.v1.inference_service_pb2 import Classification, Detection

_LETTERS: Final = (0, 0, 0)
_NO_CHARACTER: Final = "\uffff"
# Pillow's own font, which every machine has, knows the letters of English alone.
_SYSTEM_FONTS: Final = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",
    "arial.ttf",
    "msyh.ttc",
    "malgun.ttf",
    "msgothic.ttc",
)

Font: TypeAlias = ImageFont.ImageFont | ImageFont.FreeTypeFont


def draw_boxes(content: bytes, detections: Sequence[Detection]) -> Image.Image:
    """The upright picture with a box and a label for each object, the surest on top.

    A label that no font here has letters for is replaced by the object's place in the list, from 1.
    """
    picture = _upright(content)
    pen, unit = ImageDraw.Draw(picture), _unit(picture)
    for number, seen in reversed([*enumerate(detections, start=1)]):
        colour = _colour(seen.label)
        box = (seen.x_min, seen.y_min, max(seen.x_min, seen.x_max), max(seen.y_min, seen.y_max))
        pen.rectangle(box, outline=colour, width=unit)
        font, label = _lettering(seen.label, unit, otherwise=f"#{number}")
        _write(pen, font, f"{label}: {seen.score:.2f}", at=(seen.x_min, seen.y_min), colour=colour)
    return picture


def draw_label(content: bytes, classified: Classification) -> Image.Image:
    """The upright picture with its likeliest class in a corner."""
    picture = _upright(content)
    best = classified.scores[0]
    font, label = _lettering(best.label, _unit(picture), otherwise="#1")
    _write(ImageDraw.Draw(picture), font, f"{label}: {best.score:.2f}", at=(0, 0), colour=_colour(best.label))
    return picture


def save(picture: Image.Image, path: Path) -> None:
    """Writes a PNG file, and the folders that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, "PNG")


def _upright(content: bytes) -> Image.Image:
    with warnings.catch_warnings():
        # The server has taken it, whatever Pillow thinks of its size.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(content)) as image:
            return upright(image).convert("RGB")


def _unit(picture: Image.Image) -> int:
    """The width of a line, in px, such that it is seen on a picture of this size."""
    return max(1, round(max(picture.size) / 400))


def _lettering(label: str, unit: int, *, otherwise: str) -> tuple[Font, str]:
    """A font of this machine with all letters of a label; `otherwise` in Pillow's own where there is none."""
    fonts = [_font(name, max(10, 7 * unit)) for name in ("", *_SYSTEM_FONTS)]
    for font in fonts:
        if font is not None and all(_has_letter(font, letter) for letter in label):
            return font, label
    assert fonts[0] is not None
    return fonts[0], otherwise


@cache
def _font(name: str, size: int) -> Font | None:
    """A font by the name of its file, wherever the system keeps fonts; without a name Pillow's own."""
    if not name:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@cache
def _has_letter(font: Font, letter: str) -> bool:
    return letter.isspace() or bytes(font.getmask(letter)) != bytes(font.getmask(_NO_CHARACTER))


def _write(
    pen: ImageDraw.ImageDraw,
    font: Font,
    text: str,
    *,
    at: tuple[float, float],
    colour: tuple[int, int, int],
) -> None:
    """Text on a coloured ground, above a point where there is room, else below it, and within the picture."""
    width, height = font.getbbox(text)[2:]
    left = max(0.0, min(at[0], pen.im.size[0] - width))
    top = at[1] - height if at[1] >= height else at[1]
    pen.rectangle((left, top, left + width, top + height), fill=colour)
    pen.text((left, top), text, _LETTERS, font)


def _colour(label: str) -> tuple[int, int, int]:
    """The same for a label in every picture and every run; light enough for black letters."""
    hue = int.from_bytes(hashlib.sha256(label.encode()).digest()[:2]) / 65536
    red, green, blue = colorsys.hls_to_rgb(hue, 0.65, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)
