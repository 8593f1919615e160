"""Images decoded, turned upright and scaled once, kept as bytes on disk that every epoch and job maps.

A mosaic is made of four images: without this, each would be decoded four times an epoch. What varies from
epoch to epoch is not done here but in `detector_batches`.
"""

import hashlib
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tuneyard.datasets.orientation import upright
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.run import Run
from tuneyard.vision.detector_splits import DetectionSplit
from tuneyard.vision.pixels import as_rgb, reserve

_VERSION = 1
"""Part of the cache's key: to be raised when the same image would come out with other pixels."""
_BYTES = "pixels.bin"
_MAX_CACHED_BYTES = 16 << 30
"""Larger splits are decoded whenever they are needed: their disk space is worth more than the time."""
_BATCH = 64

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class ScaledImages:
    """The images of a split, each (height, width, 3), BGR as ultralytics wants it, the longer side scaled."""

    root: Path
    paths: tuple[str, ...]
    image_size: int
    _data: NDArray[np.uint8] | None
    _shapes: tuple[tuple[int, int], ...]
    _offsets: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> Pixels:
        """A copy, which may be written to."""
        height, width = self._shapes[position]
        if self._data is None:
            return decode(self.root / self.paths[position], (height, width))
        start = self._offsets[position]
        return self._data[start : start + height * width * 3].reshape(height, width, 3).copy()


def scaled_images(split: DetectionSplit, *, image_size: int, workers: int, run: Run) -> ScaledImages:
    """The split's images, from the cache or into it.

    Raises RecipeError DATASET_UNREADABLE for an image that cannot be decoded.
    """
    paths = tuple(sample.path for sample in split.samples)
    shapes = tuple(_scaled_shape(sample.size, image_size) for sample in split.samples)
    sizes = [height * width * 3 for height, width in shapes]
    offsets = tuple(int(offset) for offset in np.cumsum([0, *sizes])[:-1])
    if sum(sizes) > _MAX_CACHED_BYTES:
        return ScaledImages(split.root, paths, image_size, None, shapes, offsets)
    names = hashlib.sha256("\0".join(paths).encode()).hexdigest()

    def decode_one(position: int) -> Pixels:
        return decode(split.root / paths[position], shapes[position])

    def build(folder: Path) -> None:
        data = np.memmap(folder / _BYTES, mode="w+", dtype=np.uint8, shape=(sum(sizes),))
        reserve(folder / _BYTES)
        with ThreadPoolExecutor(max(1, workers), thread_name_prefix="decode") as pool:
            for first in range(0, len(paths), _BATCH):
                batch = paths[first : first + _BATCH]
                images = pool.map(decode_one, range(first, first + len(batch)))
                for offset, image in zip(offsets[first:], images, strict=False):
                    data[offset : offset + image.size] = image.reshape(-1)
                run.check_stop()
                run.progress(step=0, total_steps=0, epoch=0, total_epochs=0, unit="images", count=len(batch))
        data.flush()

    key = f"{split.dataset_sha256}:{image_size}:{_VERSION}:{names}"
    folder = run.cached("detector-pixels", key, build)
    data = np.memmap(folder / _BYTES, mode="r", dtype=np.uint8)
    return ScaledImages(split.root, paths, image_size, data, shapes, offsets)


def _scaled_shape(size: tuple[int, int], image_size: int) -> tuple[int, int]:
    """Height and width of an image of (width, height), its longer side scaled as ultralytics scales it."""
    scale = image_size / max(size)
    width, height = (min(math.ceil(side * scale), image_size) for side in size)
    return height, width


def decode(file: Path, shape: tuple[int, int]) -> Pixels:
    """An image as (height, width, 3) bytes, BGR, upright, scaled to a height and width.

    Raises RecipeError DATASET_UNREADABLE.
    """
    height, width = shape
    try:
        with Image.open(file) as image:
            # A JPEG can be decoded at a fraction of its size for a fraction of the time.
            image.draft("RGB", (2 * max(shape), 2 * max(shape)))
            pixels = np.asarray(as_rgb(upright(image)))
    except (OSError, ValueError, SyntaxError) as error:
        raise RecipeError(
            f"The image {file.name!r} cannot be decoded.",
            reason="DATASET_UNREADABLE",
            remedies=("Check the dataset with `tuneyard datasets check`, and replace or remove the image.",),
        ) from error
    if pixels.shape[:2] != shape:
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(pixels[..., ::-1])
