"""Images decoded and resized once, kept as one array of bytes on disk that every epoch and job maps.

Reading an image from the array costs a copy of its bytes. What varies from epoch to epoch is not done here
but in `batches`.
"""

import hashlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from tuneyard.datasets.orientation import upright
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.run import Run
from tuneyard.vision.splits import Samples

_VERSION = 1
"""Part of the cache's key: to be raised when the same image would come out with other pixels."""
_FILE = "pixels.npy"
_BATCH = 32
_EXAMINED = 64


@dataclass(frozen=True)
class Pixels:
    """Samples as bytes: `data` is (images, side, side, 3), uint8; `rows` picks this split's from it."""

    data: Tensor
    rows: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def side(self) -> int:
        """The stored side in px."""
        return int(self.data.shape[1])

    def images(self, positions: Tensor) -> Tensor:
        """The images at some positions as (n, 3, side, side), uint8, channels last in memory."""
        return self.data.index_select(0, self.rows[positions]).permute(0, 3, 1, 2)


def stored_side(samples: Samples, *, image_size: int, crops: bool) -> int:
    """The side at which images are stored: some more than the input's, so that crops are not blown up.

    Images are kept at the input's own size where nothing is cropped, and where they are no larger anyway.
    """
    wanted = image_size * 8 // 7
    step = max(1, len(samples) // _EXAMINED)
    shorter = [_shorter_side(samples.root / path) for path in samples.paths[::step]]
    return wanted if crops and median(shorter) >= wanted else image_size


def load_pixels(parts: Sequence[Samples], *, side: int, workers: int, run: Run) -> list[Pixels]:
    """Each part's pixels, from the cache or into it; parts of one dataset share an array.

    Raises RecipeError DATASET_UNREADABLE for an image that cannot be decoded.
    """
    arrays: dict[str, tuple[Tensor, dict[str, int]]] = {}
    for part in parts:
        if part.dataset_sha256 not in arrays:
            same = [other for other in parts if other.dataset_sha256 == part.dataset_sha256]
            paths = sorted({path for other in same for path in other.paths})
            data = _cached_array(part.root, part.dataset_sha256, paths, side=side, workers=workers, run=run)
            arrays[part.dataset_sha256] = (data, {path: row for row, path in enumerate(paths)})
    return [_pixels(part, *arrays[part.dataset_sha256]) for part in parts]


def _pixels(samples: Samples, data: Tensor, row_of: dict[str, int]) -> Pixels:
    rows = torch.tensor([row_of[path] for path in samples.paths])
    return Pixels(data, rows, torch.tensor(samples.labels))


def _cached_array(root: Path, sha256: str, paths: list[str], *, side: int, workers: int, run: Run) -> Tensor:
    names = hashlib.sha256("\0".join(paths).encode()).hexdigest()

    def build(folder: Path) -> None:
        shape = (len(paths), side, side, 3)
        array = np.lib.format.open_memmap(folder / _FILE, mode="w+", dtype=np.uint8, shape=shape)
        reserve(folder / _FILE)
        done = 0
        for start, images in _decoded(root, paths, side=side, workers=workers):
            array[start : start + len(images)] = images
            done += len(images)
            run.check_stop()
            run.progress(step=0, total_steps=0, epoch=0, total_epochs=0, unit="images", count=len(images))
        array.flush()

    folder = run.cached("pixels", f"{sha256}:{side}:{_VERSION}:{names}", build)
    # "c": a private mapping, since torch wants to be able to write; nothing here ever does.
    return torch.from_numpy(np.load(folder / _FILE, mmap_mode="c"))


def reserve(path: Path) -> None:
    """Has the disk set aside a new file's whole size. Raises OSError where it has no room.

    Without it, a disk that fills up while such a file is mapped ends the process by a signal.
    """
    with path.open("rb+") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _decoded(root: Path, paths: list[str], *, side: int, workers: int) -> Iterator[tuple[int, np.ndarray]]:
    """Batches of decoded images in order, as (first position, images), in flat memory.

    Threads, because Pillow decodes and resizes without the interpreter's lock.
    """

    def decode_batch(start: int) -> np.ndarray:
        return np.stack([decode(root / path, side=side) for path in paths[start : start + _BATCH]])

    waiting: deque[tuple[int, Future[np.ndarray]]] = deque()
    pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="decode")
    try:
        for start in range(0, len(paths), _BATCH):
            waiting.append((start, pool.submit(decode_batch, start)))
            if len(waiting) > 2 * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def decode(file: Path | BinaryIO, *, side: int) -> np.ndarray:
    """An image as (side, side, 3) bytes: upright, resized by its shorter side, cropped in the middle.

    Raises RecipeError DATASET_UNREADABLE.
    """
    try:
        with Image.open(file) as image:
            # A JPEG can be decoded at an eighth of its size for a fraction of the time.
            image.draft("RGB", (2 * side, 2 * side))
            whole = as_rgb(upright(image))
            fitted = ImageOps.fit(whole, (side, side), method=Image.Resampling.BICUBIC)
            return np.asarray(fitted)
    except (OSError, ValueError, SyntaxError) as error:
        name = repr(file.name) if isinstance(file, Path) else ""
        raise RecipeError(
            f"The image {name} cannot be decoded.".replace("  ", " "),
            reason="DATASET_UNREADABLE",
            remedies=("Check the dataset with `tuneyard datasets check`, and replace or remove the image.",),
        ) from error


def as_rgb(image: Image.Image) -> Image.Image:
    """Any image in three channels of eight bits; deeper grey ones are scaled, not clipped."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        return Image.fromarray((values.clip(0, top) * (255.0 / top)).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _shorter_side(path: Path) -> int:
    with Image.open(path) as image:
        return min(image.size)


def decode_workers(threads: int, asked: int | None) -> int:
    """Threads that decode: as many as asked for, else as the run may use."""
    return asked or min(threads, os.cpu_count() or 1)
