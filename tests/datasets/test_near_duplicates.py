"""Which pictures count as nearly alike, and how a search for them behaves with very many."""

import errno
import io
from collections.abc import Callable
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from sklearn.datasets import load_sample_image

from tests.support.defects_images import encoded, picture
from tuneyard.datasets import near_duplicates
from tuneyard.datasets.appearance import Appearance, measure
from tuneyard.datasets.near_duplicates import Pair, Pictures


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    return Image.fromarray(load_sample_image("china.jpg"))


def search(pictures: list[Appearance]) -> list[tuple[int, int]]:
    return [(pair.one, pair.other) for pair in pairs(pictures)]


def pairs(pictures: list[Appearance]) -> list[Pair]:
    found = Pictures()
    for each in pictures:
        found.add(each)
    return found.alike()


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved as a coarse JPEG": lambda image: Image.open(_file(image, quality=40)),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "grey": lambda image: image.convert("L"),
    "a little blurred": lambda image: image.filter(ImageFilter.GaussianBlur(image.width / 200)),
    "shifted by 1 %": lambda image: image.crop((image.width // 100, 0, image.width, image.height)),
}


def _file(image: Image.Image, **options: object) -> io.BytesIO:
    return io.BytesIO(encoded(image, "JPEG", **options))


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_of_a_photograph_is_found(photograph: Image.Image, change: str) -> None:
    assert search([measure(photograph), measure(CHANGES[change](photograph))]) == [(0, 1)]


@pytest.mark.parametrize("change", ["saved as a coarse JPEG", "half the size", "brighter", "shifted by 1 %"])
def test_a_mirrored_copy_of_a_photograph_is_found_and_told_as_such(
    photograph: Image.Image, change: str
) -> None:
    changed = CHANGES[change](ImageOps.mirror(photograph))
    assert pairs([measure(photograph), measure(changed)]) == [Pair(0, 1, mirrored=True)]
    assert pairs([measure(changed), measure(photograph)]) == [Pair(0, 1, mirrored=True)]


def test_a_picture_that_is_its_own_mirror_image_is_no_copy(photograph: Image.Image) -> None:
    half = photograph.crop((0, 0, photograph.width // 2, photograph.height))
    both = Image.new("RGB", photograph.size)
    both.paste(half, (0, 0))
    both.paste(ImageOps.mirror(half), (half.width, 0))
    assert pairs([measure(both)]) == []


def test_a_mirrored_copy_of_a_soft_photograph_is_found() -> None:
    soft = Image.fromarray(load_sample_image("flower.jpg"))
    assert pairs([measure(soft), measure(ImageOps.mirror(soft))]) == [Pair(0, 1, mirrored=True)]


def test_drawings_may_be_mirror_images_of_each_other() -> None:
    drawing = Image.new("RGB", (96, 96), "white")
    drawing.paste("#c80000", (20, 30, 60, 70))
    assert search([measure(drawing), measure(ImageOps.mirror(drawing))]) == []


def test_another_part_of_the_same_photograph_is_no_copy(photograph: Image.Image) -> None:
    half = photograph.width // 2
    parts = [photograph.crop((left, 0, left + half, photograph.height)) for left in (0, half)]
    assert search([measure(part) for part in parts]) == []


def test_the_same_drawing_in_another_colour_is_no_copy() -> None:
    def drawn(colour: str) -> Image.Image:
        image = Image.new("RGB", (96, 96), "white")
        image.paste(colour, (20, 30, 60, 70))
        return image

    # Of the same brightness, so that grey pictures of the two would be equal.
    assert search([measure(drawn("#c80000")), measure(drawn("#0059c8"))]) == []


def test_even_pictures_are_never_alike() -> None:
    assert search([measure(Image.new("RGB", (64, 64), colour)) for colour in ("white", "white")]) == []


def test_any_kind_of_pixel_and_size_can_be_measured() -> None:
    for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F"):
        for size in ((1, 1), (1, 3000), (700, 5), (64, 64)):
            assert len(measure(Image.new(mode, size)).thumb) == 256


def test_deep_grey_is_scaled_and_not_clipped() -> None:
    deep = Image.fromarray(np.linspace(0, 60_000, 64 * 64).reshape(64, 64).astype(np.uint16))
    assert measure(deep).span > 200


def _full_disk(**options: object) -> io.BytesIO:
    raise OSError(errno.ENOSPC, "No space left on device")


def _full_after_half_a_picture(**options: object) -> io.BytesIO:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.tell():
                raise OSError(errno.EFBIG, "File too large")
            return super().write(data[:150])

    return Full()


@pytest.mark.parametrize("made", [TemporaryFile, _full_disk, _full_after_half_a_picture])
def test_pictures_in_a_file_are_compared_like_those_in_memory(
    photograph: Image.Image, monkeypatch: pytest.MonkeyPatch, made: Callable[..., object]
) -> None:
    pictures = [measure(picture(number)) for number in range(8)]
    pictures += [measure(CHANGES["brighter"](photograph)), pictures[3], measure(photograph)]
    in_memory = search(pictures)
    monkeypatch.setattr(near_duplicates, "_WAITING_BYTES", 600)
    monkeypatch.setattr(near_duplicates, "TemporaryFile", made)
    assert search(pictures) == in_memory == [(3, 9), (8, 10)]


def test_of_a_hundred_thousand_pictures_few_pairs_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    windows = near_duplicates._windows

    def counted(*given: Any) -> Any:
        nonlocal compared
        for left, right in windows(*given):
            compared += len(left)
            yield left, right

    monkeypatch.setattr(near_duplicates, "_windows", counted)
    one = measure(picture(1))
    hashes = np.random.default_rng(0).integers(0, 2**63, 100_000, dtype=np.uint64)
    pictures = Pictures()
    for value in hashes.tolist():
        pictures.add(one._replace(hash=value, mirrored_hash=value ^ 0x5555555555555555))
    pictures.alike()
    # Of all pairs, and once more of each with its mirror image.
    assert 0 < compared < 0.005 * len(hashes) ** 2


def test_thousands_of_frames_of_one_scene_are_one_group() -> None:
    one = measure(picture(1))
    pictures = Pictures()
    for value in np.random.default_rng(0).integers(0, 16, 5_000, dtype=np.uint64).tolist():
        pictures.add(one._replace(hash=value, mirrored_hash=value))
    assert len(pictures.alike()) == 4_999
