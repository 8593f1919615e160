"""Small real datasets: drawn images, a clean set, and ways to write files as folders and ZIP files."""

import io
import random
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image

Files = Mapping[str, bytes]
Draw = Callable[..., bytes]


def draw_image(seed: int, *, size: tuple[int, int] = (8, 8), format: str = "PNG") -> bytes:
    """A picture of noise that no other seed gives, so that nothing is a duplicate by accident."""
    pixels = random.Random(seed).randbytes(size[0] * size[1] * 3)
    buffer = io.BytesIO()
    Image.frombytes("RGB", size, pixels).save(buffer, format)
    return buffer.getvalue()


@pytest.fixture
def draw() -> Draw:
    return draw_image


@pytest.fixture(scope="session")
def _clean_files() -> dict[str, bytes]:
    names = [
        f"{split}/{name}/{number}.png"
        for split, count in (("train", 100), ("val", 20))
        for name in ("cat", "dog")
        for number in range(count)
    ]
    return {name: draw_image(seed) for seed, name in enumerate(names)}


@pytest.fixture
def clean_files(_clean_files: dict[str, bytes]) -> dict[str, bytes]:
    """An image-folder set with nothing to find: two classes, 100 images each for train and 20 for val."""
    return dict(_clean_files)


@pytest.fixture
def write_zip(tmp_path: Path) -> Callable[..., Path]:
    def write(
        files: Files, *, name: str = "set.zip", prefix: str = "", method: int = zipfile.ZIP_DEFLATED
    ) -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(path, "w", method) as archive:
            for member, data in files.items():
                archive.writestr(prefix + member, data)
        return path

    return write


@pytest.fixture
def write_folder(tmp_path: Path) -> Callable[..., Path]:
    def write(files: Files, *, name: str = "set", prefix: str = "") -> Path:
        root = tmp_path / name
        root.mkdir()
        for member, data in files.items():
            target = root / (prefix + member)
            if member.endswith("/"):
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
        return root

    return write
