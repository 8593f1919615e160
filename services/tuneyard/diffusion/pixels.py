"""Images as a VAE takes them: upright, opaque, scaled to cover a bucket, cropped, flipped, from -1 to 1.

One image at a time, the same way each time; what is kept of it is decided in `latents`.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tuneyard.datasets.orientation import upright
from tuneyard.diffusion.buckets import Bucket
from tuneyard.trainer.errors import RecipeError

VERSION = 1
"""Part of the keys of caches: to be raised when the same image would come out with other pixels."""


@dataclass(frozen=True, slots=True)
class Framing:
    """What of an image is seen."""

    bucket: Bucket
    across: float = 0.5
    """Where the crop lies in what stands over, from 0 (left, top) to 1."""
    down: float = 0.5
    flip: bool = False
    """Mirrored left to right."""

    @property
    def key(self) -> str:
        """The same for what gives the same pixels of an image."""
        place = f"{self.across:.6f}:{self.down:.6f}"
        return f"{VERSION}:{self.bucket.width}x{self.bucket.height}:{place}:{int(self.flip)}"


class Framed(NamedTuple):
    """An image's pixels, and what SDXL is told of it: (height, width) and (top, left)."""

    pixels: Tensor
    """(3, height, width), float32, -1 to 1."""
    original_size: tuple[int, int]
    """Of the upright image."""
    crop_top_left: tuple[int, int]
    """In px of the scaled image, as it is after flipping."""


def draw_framing(
    bucket: Bucket, *, horizontal_flip: float, random_crop: bool, generator: torch.Generator
) -> Framing:
    """A framing at random; from one generator always the same three numbers are drawn."""
    flip, across, down = torch.rand(3, generator=generator).tolist()
    flipped = flip < horizontal_flip
    return Framing(bucket, across, down, flipped) if random_crop else Framing(bucket, flip=flipped)


def read_pixels(path: Path, framing: Framing) -> Framed:
    """The pixels of an image file. Raises RecipeError DATASET_UNREADABLE."""
    return frame(open_upright(path), framing)


def open_upright(path: Path) -> Image.Image:
    """An image file as RGB, turned as its EXIF data says, on white. Raises RecipeError DATASET_UNREADABLE."""
    try:
        with Image.open(path) as image:
            return _as_rgb(upright(image))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RecipeError(
            f"The image {path.name!r} cannot be decoded.",
            reason="DATASET_UNREADABLE",
            remedies=("Check the dataset with `tuneyard datasets check`, and replace or remove the image.",),
        ) from error


def frame(image: Image.Image, framing: Framing) -> Framed:
    """The part of an upright RGB image that a framing shows."""
    bucket = framing.bucket
    scale = max(bucket.width / image.width, bucket.height / image.height)
    width = max(bucket.width, round(image.width * scale))
    height = max(bucket.height, round(image.height * scale))
    # Lanczos, as the recipes of the base models: it keeps detail that bilinear scaling smears.
    scaled = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    if framing.flip:
        scaled = scaled.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    left = round((width - bucket.width) * framing.across)
    top = round((height - bucket.height) * framing.down)
    cropped = scaled.crop((left, top, left + bucket.width, top + bucket.height))
    return Framed(
        pixels=_tensor(cropped), original_size=(image.height, image.width), crop_top_left=(top, left)
    )


def to_image(pixels: Tensor) -> Image.Image:
    """Pixels from -1 to 1, (3, height, width), to be looked at; what lies beyond is cut off."""
    levels = pixels.detach().float().cpu().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())


def file_sha256(path: Path) -> str:
    """SHA-256 of an image's bytes, in hex: what caches know it by."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tensor(image: Image.Image) -> Tensor:
    values = torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1)
    return values.to(torch.float32).div_(127.5).sub_(1).contiguous()


def _as_rgb(image: Image.Image) -> Image.Image:
    """Three channels of eight bits: deeper grey is scaled, not clipped, and what is transparent is white."""
    if image.mode.startswith(("I", "F")):
        values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        return Image.fromarray((values.clip(0, top) * (255.0 / top)).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        return Image.alpha_composite(white, opaque).convert("RGB")
    return image.convert("RGB")
