"""Examining image files one by one and many at once."""

import io
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tuneyard.datasets import Code, Progress, open_source
from tuneyard.datasets.images import ImageLimits, examine, examine_all


@pytest.fixture
def folder(write_folder: Callable[..., Path], draw: Callable[..., bytes]) -> Path:
    return write_folder({f"a/{number:03}.png": draw(number) for number in range(100)})


@pytest.mark.parametrize("workers", [1, 3, None])
def test_many_are_examined_in_order(folder: Path, workers: int | None) -> None:
    source, seen = open_source(folder), list[Progress]()
    facts = list(examine_all(source, source.names(), workers=workers, progress=seen.append))
    assert tuple(fact.name for fact in facts) == source.names()
    assert {(fact.width, fact.height, fact.format) for fact in facts} == {(8, 8, "PNG")}
    assert len({fact.digest for fact in facts}) == 100
    assert (seen[-1].done, seen[-1].total) == (100, 100)


def test_leaving_early_ends_the_threads(folder: Path) -> None:
    source = open_source(folder)
    examining = examine_all(source, source.names(), workers=2)
    next(examining)
    examining.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("examine")]


def test_limits_keep_a_file_from_being_read_or_decoded(folder: Path) -> None:
    source = open_source(folder)
    too_many_bytes = examine(source, "a/000.png", limits=ImageLimits(max_file_bytes=10))
    too_many_pixels = examine(source, "a/000.png", limits=ImageLimits(max_pixels=63))
    assert too_many_bytes.problem is too_many_pixels.problem is Code.IMAGE_TOO_LARGE
    assert "64" not in too_many_bytes.detail and "8 x 8" in too_many_pixels.detail


def test_running_out_of_memory_is_not_taken_for_a_broken_image(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*args: object, **kwargs: object) -> None:
        raise MemoryError

    monkeypatch.setattr("tuneyard.datasets.images.Image.open", exhausted)
    with pytest.raises(MemoryError):
        examine(open_source(folder), "a/000.png")


@pytest.mark.parametrize(
    ("mode", "format"),
    [
        ("1", "PNG"),
        ("L", "JPEG"),
        ("P", "GIF"),
        ("LA", "PNG"),
        ("RGBA", "WEBP"),
        ("CMYK", "JPEG"),
        ("F", "TIFF"),
    ],
)
def test_every_kind_of_pixel_is_readable(write_folder: Callable[..., Path], mode: str, format: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (16, 12)).save(buffer, format)
    name = f"a/1.{format.lower()}"
    facts = examine(open_source(write_folder({name: buffer.getvalue()})), name)
    assert (facts.problem, facts.width, facts.height, facts.format) == (None, 16, 12, format)


def test_a_phone_picture_of_several_frames_is_a_jpeg(write_folder: Callable[..., Path]) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12)).save(buffer, "MPO", save_all=True, append_images=[Image.new("RGB", (16, 12))])
    facts = examine(open_source(write_folder({"a/1.jpg": buffer.getvalue()})), "a/1.jpg")
    assert (facts.problem, facts.format) == (None, "JPEG")
