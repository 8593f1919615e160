"""What a picture looks like, in three hundred bytes: enough to find near copies, blank and blurred images.

Knows neither files nor findings; `near_duplicates` compares what is measured here.
"""

from typing import NamedTuple

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

# imagehash imports a part of SciPy when it is first used: here, not in whichever thread comes first.
imagehash.phash(Image.new("L", (8, 8)))

THUMB_SIDE = 16
TINT_SIDE = 4

# Sharpness depends on scale: it is judged at the size at which images are usually trained on, and of none
# that is too small to be told apart from a picture that was enlarged.
_JUDGED_SIDE = 256
_LEAST_JUDGED_SIDE = 64
_HASHED_SIDE = 32
_TEXTURE_LEVELS = 3
RICH_TEXTURE = 0.4
"""From here on a picture is as full of detail as a photograph: no other one looks like it by accident."""
_DRAWN_TEXTURE = 0.05
"""Flat drawings have less."""
GREY_TINT = 3
"""Up to here a picture is grey, whatever its mode."""


class Appearance(NamedTuple):
    """Measures of one picture."""

    hash: int
    """64 bits of its coarse structure (`imagehash.phash`); near copies differ in few of them."""
    mirrored_hash: int | None
    """The same of its mirror image (left to right); None of drawings and grey scans, which are each other's
    mirror images by nature."""
    thumb: bytes
    """Its brightness, 16 × 16 bytes."""
    tint: bytes
    """Its colour without brightness, 4 × 4 pairs of signed bytes: half of red - green and of blue - green."""
    span: int
    """The largest difference of two pixels in any channel, 0 to 255, after averaging over small areas."""
    sharpness: float
    """The steepest bend of brightness as a share of its span: about 1 for a photograph in focus, below 0.05
    for one blurred over 1.5 % of its side. Not a number where the picture is too small."""
    texture: float
    """The share of its area that is not even, 0 to 1; 0 where the picture is too small to be judged."""


def measure(image: Image.Image) -> Appearance:
    """Measures a decoded picture of any mode and size."""
    coloured = _reduced(image)
    grey = coloured.convert("L")
    scale = _JUDGED_SIDE / max(grey.size)
    if scale < 1:
        size = (max(1, round(grey.width * scale)), max(1, round(grey.height * scale)))
        grey = grey.resize(size, Image.Resampling.BOX)
    # Averaging is the faster filter and as good where pixels are many; few have to be interpolated.
    filter = Image.Resampling.BOX if min(grey.size) >= 2 * _HASHED_SIDE else Image.Resampling.LANCZOS
    hashed = grey.resize((_HASHED_SIDE, _HASHED_SIDE), filter)
    spans = coloured.reduce(max(1, min(coloured.size) // 64)).getextrema()
    is_judged = min(image.size) >= _LEAST_JUDGED_SIDE
    sharpness, texture = _sharpness_and_texture(grey) if is_judged else (float("nan"), 0.0)
    tint = _tint(coloured)
    colour = int(np.abs(tint.astype(np.int16)).max())
    is_photograph = texture >= RICH_TEXTURE or (texture >= _DRAWN_TEXTURE and colour > GREY_TINT)
    return Appearance(
        hash=_hash(hashed),
        mirrored_hash=_hash(hashed.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) if is_photograph else None,
        thumb=hashed.resize((THUMB_SIDE, THUMB_SIDE), Image.Resampling.BOX).tobytes(),
        tint=tint.tobytes(),
        span=max(int(high) - int(low) for low, high in spans),  # type: ignore[misc]
        sharpness=sharpness,
        texture=texture,
    )


def _hash(image: Image.Image) -> int:
    return int.from_bytes(np.packbits(imagehash.phash(image).hash).tobytes())


def _reduced(image: Image.Image) -> Image.Image:
    """The picture in RGB, its longer side below twice the judged one."""
    if image.mode in ("1", "P", "PA"):
        image = image.convert("RGB")
    elif image.mode.startswith(("I", "F")):
        image = _eight_bits(image)
    factor = max(image.size) // _JUDGED_SIDE
    if factor > 1:
        image = image.reduce((min(factor, image.width), min(factor, image.height)))
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Deeper grey values scaled to bytes, as a recipe does, where Pillow would clip them."""
    values = np.asarray(image, dtype=np.float32)
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    top = 65535.0 if values.max(initial=0.0) > 255 else 255.0
    return Image.fromarray((values.clip(0.0, top) * (255.0 / top)).astype(np.uint8))


def _tint(image: Image.Image) -> NDArray[np.int8]:
    small = image.resize((TINT_SIDE, TINT_SIDE), Image.Resampling.BOX)
    channels = np.asarray(small, dtype=np.int16)
    tint: NDArray[np.int8] = (
        ((channels[..., [0, 2]] - channels[..., [1]]) // 2).clip(-128, 127).astype(np.int8)
    )
    return tint


def _sharpness_and_texture(grey: Image.Image) -> tuple[float, float]:
    values = np.asarray(grey).astype(np.int16)
    across = np.abs(values[:, 2:] + values[:, :-2] - 2 * values[:, 1:-1])
    down = np.abs(values[2:] + values[:-2] - 2 * values[1:-1])
    bend = max(int(across.max(initial=0)), int(down.max(initial=0)))
    # The constant keeps the noise of a nearly even picture from passing for sharpness.
    sharpness = bend / (int(values.max()) - int(values.min()) + 8)
    return sharpness, np.count_nonzero(across > _TEXTURE_LEVELS) / max(1, across.size)
