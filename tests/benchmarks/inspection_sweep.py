"""Memory for checking 100,000 images of each format, as folder and as ZIP: some ten minutes on two cores."""

import shutil
import zipfile
from pathlib import Path

import numpy as np

from tests.benchmarks.inspection import checked, png
from tests.benchmarks.rows import Row
from tests.benchmarks.settings import Settings

_FEW, _MANY = 10_000, 100_000
_MAX_BYTES = 700
"""Of a file, its label or caption counted apart: its name, hashes, and what it belongs to."""
_FILES_AN_IMAGE = {"image-folder": 1, "yolo": 2, "captioned-images": 2}


def measure(settings: Settings) -> list[Row]:
    """A row for each format and way to bring it."""
    rows = []
    for format in _FILES_AN_IMAGE:
        sizes = [_dataset(settings, format, count) for count in (_FEW, settings.times(_MANY, 2 * _FEW))]
        rows.append(_row(format, "folder", [path for path, _ in sizes]))
        rows.append(_row(format, "ZIP", [archive for _, archive in sizes]))
    return rows


def _row(format: str, brought: str, sizes: list[Path]) -> Row:
    found = [checked(path, format=format) for path in sizes]
    images = [report.files["images"] for report, _ in found]
    few, many = (peak for _, peak in found)
    each = (many - few) / ((images[1] - images[0]) * _FILES_AN_IMAGE[format])
    return Row(
        name=f"{format} as {brought}, peak memory for {images[1]:,} images",
        unit="MB",
        ours=many / 1e6,
        limit=few / 1e6,
        ratio=many / few,
        guard=f"limit: {images[0]:,} images; {each:.0f} bytes more for each file (< {_MAX_BYTES})",
        guard_held=each < _MAX_BYTES,
    )


def _dataset(settings: Settings, format: str, count: int) -> tuple[Path, Path]:
    """So many small images, each different, as a folder and as a ZIP; made once."""
    folder = settings.data / f"many-{format}-{count}"
    archive = folder.with_suffix(".zip")
    if archive.exists():
        return folder, archive
    shutil.rmtree(folder, ignore_errors=True)
    random = np.random.default_rng(1)
    for number in range(count):
        image = png(random.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        for name, content in _files(format, number, image):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    if format == "yolo":
        (folder / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [a, b, c]\n")
    partial = archive.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w") as made:
        for path in sorted(folder.rglob("*.*")):
            made.write(path, path.relative_to(folder))
    partial.rename(archive)
    return folder, archive


def _files(format: str, number: int, image: bytes) -> list[tuple[str, bytes]]:
    name, split = f"{number:06}", "val" if number % 7 == 0 else "train"
    if format == "image-folder":
        return [(f"{split}/class_{number // 7 % 100:02}/{name}.png", image)]
    if format == "yolo":
        box = f"{number % 3} {0.3 + number % 97 / 500:.4f} 0.5 0.2 0.3\n"
        return [(f"images/{split}/{name}.png", image), (f"labels/{split}/{name}.txt", box.encode())]
    return [(f"{name}.png", image), (f"{name}.txt", f"noise in colour {number}".encode())]
