"""Checking datasets of images: photographs of 640 px against a plain loop, and memory for very many files."""

import json
import struct
import time
import zlib
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from tests.benchmarks.rows import Row, Target, paired_ratio
from tests.benchmarks.settings import PEERS, Settings, result_of
from tuneyard.datasets import Report
from tuneyard.datasets.child import command, parse_line

_SIDE = 640
_BROKEN = 5
_FEW = 10_000
_MAX_GROWTH_BYTES = 8_000_000
"""For 20,000 files more: 400 bytes of each, most of it its name; thumbnails lie in a file."""


def measure(settings: Settings) -> list[Row]:
    """Images a second on two cores, and how much memory a large set takes."""
    return [_speed(settings), _memory(settings)]


def _speed(settings: Settings) -> Row:
    count = settings.times(800, 200)
    folder = _photographs(settings.data / f"photographs-{_SIDE}-{count}", count)
    ours, peers = [], []
    for _ in range(settings.times(3, 1)):
        peer = result_of([PEERS / "inspect_images.py", folder])
        peers.append(peer["images"] / peer["seconds"])
        started = time.perf_counter()
        report, _ = checked(folder)
        ours.append(len(_files(folder)) / (time.perf_counter() - started))
    found = report.counts.get("IMAGE_TRUNCATED", 0)
    return Row(
        name=f"dataset inspection, {_SIDE} px JPEG",
        unit="images/s",
        ours=median(ours),
        peer=median(peers),
        ratio=paired_ratio(ours, peers),
        target=Target("ours", ">=", 400),
        guard=f"{found} of {_BROKEN} cut files found, {peer['unreadable']} by the peer; start-up included",
        guard_held=found == _BROKEN,
    )


def _memory(settings: Settings) -> Row:
    many = settings.times(30_000, 20_000)
    peaks = [checked(_tiny(settings.data / f"tiny-{count}", count))[1] for count in (_FEW, many)]
    growth = peaks[1] - peaks[0]
    return Row(
        name=f"dataset inspection, peak memory for {many:,} files",
        unit="MB",
        ours=peaks[1] / 1e6,
        limit=peaks[0] / 1e6,
        ratio=peaks[1] / peaks[0],
        guard=f"limit: {_FEW:,} files; {growth / 1e6:.0f} MB more (< {_MAX_GROWTH_BYTES / 1e6:.0f})",
        guard_held=growth < _MAX_GROWTH_BYTES,
    )


def _files(folder: Path) -> list[Path]:
    """All files below a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


def checked(path: Path, *, format: str = "image-folder") -> tuple[Report, int]:
    """The report of a check in a process of its own, as the gateway makes it, and its peak in bytes."""
    found = result_of([Path(__file__).parent / "peak_of.py", *command(path, format=format)])
    report = parse_line(found["last"])
    assert isinstance(report, Report)
    return report, found["peak_bytes"]


def _photographs(root: Path, count: int) -> Path:
    """Different parts of two photographs as JPEG files, five of them cut off; made once."""
    if (root / "made.json").exists():
        return root
    random = np.random.default_rng(0)
    sources = [Image.fromarray(image) for image in load_sample_images().images]
    for number in range(count):
        source = sources[number % 2]
        side = int(random.integers(200, 400))
        left, top = (int(random.integers(0, length - side)) for length in source.size)
        image = source.crop((left, top, left + side, top + side)).resize((_SIDE, _SIDE))
        split = "val" if number % 7 == 0 else "train"
        path = root / split / ("china", "flower")[number % 2] / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=88)
        if number < _BROKEN:
            path.write_bytes(path.read_bytes()[:-5000])
    (root / "made.json").write_text(json.dumps({"images": count}))
    return root


def _tiny(root: Path, count: int) -> Path:
    """Very many small images, each different; made once."""
    if (root / "made.json").exists():
        return root
    images = np.random.default_rng(1).integers(0, 256, (count, 12, 12, 3), dtype=np.uint8)
    folders = [root / f"class_{number:02}" for number in range(100)]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        (folders[number % 100] / f"{number:06}.png").write_bytes(png(image))
    (root / "made.json").write_text(json.dumps({"images": count}))
    return root


def png(image: np.ndarray) -> bytes:
    """A PNG file of an RGB image, unfiltered: four times as fast as Pillow's."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pieces = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, 1)), chunk(b"IEND", b"")
    return b"".join((b"\x89PNG\r\n\x1a\n", *pieces))
