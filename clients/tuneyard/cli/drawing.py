"""Draws what a model says onto pictures: boxes with labels, or one label in a corner."""

import colorsys
import hashlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont, ImageOps

from tuneyard.v1.inference_service_pb2 import Classification, Detection

_LETTERS: Final = (0, 0, 0)


def draw_boxes(content: bytes, detections: Sequence[Detection]) -> Image.Image:
    """The upright picture with a box and a label for each object, the surest on top."""
    picture = _upright(content)
    pen, unit = ImageDraw.Draw(picture), _unit(picture)
    font = _font(unit)
    for seen in reversed(detections):
        colour = _colour(seen.label)
        box = (seen.x_min, seen.y_min, max(seen.x_min, seen.x_max), max(seen.y_min, seen.y_max))
        pen.rectangle(box, outline=colour, width=unit)
        _write(pen, font, f"{seen.label}: {seen.score:.2f}", at=(seen.x_min, seen.y_min), colour=colour)
    return picture


def draw_label(content: bytes, classified: Classification) -> Image.Image:
    """The upright picture with its likeliest class in a corner."""
    picture = _upright(content)
    best = classified.scores[0]
    font = _font(_unit(picture))
    text = f"{best.label}: {best.score:.2f}"
    _write(ImageDraw.Draw(picture), font, text, at=(0, 0), colour=_colour(best.label))
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
            return ImageOps.exif_transpose(image).convert("RGB")


def _unit(picture: Image.Image) -> int:
    """The width of a line, in px, such that it is seen on a picture of this size."""
    return max(1, round(max(picture.size) / 400))


def _font(unit: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Pillow's own font, which every machine has; it knows Latin letters alone."""
    return ImageFont.load_default(max(10, 7 * unit))


def _write(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
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
