"""Which format is guessed, what a check says where another one was named, and that guesses harm nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.shapes import write_shapes
from tuneyard.datasets import Code, check, guess_format

Write = Callable[..., Path]

SETS: dict[str, tuple[str, dict[str, bytes]]] = {
    "data.yaml": ("yolo", {"data.yaml": b"names: [a]", "train/images/1.jpg": b"x"}),
    "boxes beside images": ("yolo", {"1.jpg": b"x", "1.txt": b"0 0.5 0.5 0.1 0.1\n"}),
    "boxes in labels": ("yolo", {"images/train/1.jpg": b"x", "labels/train/1.txt": b"0 0.5 0.5 0.1 0.1"}),
    "labels without boxes": ("yolo", {"images/train/1.jpg": b"x", "labels/train/1.txt": b""}),
    "captions beside images": ("captioned-images", {"1.jpg": b"x", "1.txt": b"a cat on a mat\n"}),
    "metadata": ("captioned-images", {"metadata.jsonl": b"{}", "1.jpg": b"x"}),
    "captions of another extension": ("captioned-images", {"1.jpg": b"x", "1.caption": b"a cat"}),
    "repeats": ("captioned-images", {"img/10_sks dog/1.jpg": b"x", "reg/1_dog/1.jpg": b"x"}),
    "classes with numbers": ("image-folder", {"0_cat/1.jpg": b"x", "1_dog/1.jpg": b"x"}),
    "classes": ("image-folder", {"cat/1.jpg": b"x", "dog/1.jpg": b"x"}),
    "splits": ("image-folder", {"train/cat/1.jpg": b"x", "val/cat/1.jpg": b"x"}),
    "examples": ("jsonl", {"train.jsonl": b"{}"}),
    "gzipped examples": ("jsonl", {"data/train.json.gz": b"\x1f\x8b"}),
}


@pytest.mark.parametrize("kind", SETS)
def test_a_format_is_guessed_from_a_folder(write_folder: Write, kind: str) -> None:
    format, files = SETS[kind]
    found = guess_format(write_folder(files))
    assert found is not None and found.format == format


@pytest.mark.parametrize("files", [{"1.jpg": b"x"}, {"notes.txt": b"x"}, {"images/1.jpg": b"x"}])
def test_what_could_be_anything_is_not_guessed(write_folder: Write, files: dict[str, bytes]) -> None:
    assert guess_format(write_folder(files)) is None


def test_a_single_file_is_guessed_by_its_name_or_its_beginning(tmp_path: Path) -> None:
    for name, content in (
        ("train.jsonl", b""),
        ("upload", b'\xef\xbb\xbf{"text": "a"}'),
        ("a.json.gz", b"x"),
    ):
        (tmp_path / name).write_bytes(content)
        found = guess_format(tmp_path / name)
        assert found is not None and found.format == "jsonl"
    (tmp_path / "book").write_bytes(b"It was a dark night.")
    assert guess_format(tmp_path / "book") is None


@pytest.mark.parametrize("kind", ["data.yaml", "classes", "examples"])
@pytest.mark.parametrize("named", ["image-folder", "yolo", "jsonl"])
def test_a_check_says_what_a_dataset_of_another_format_looks_like(
    write_folder: Write, kind: str, named: str
) -> None:
    format, files = SETS[kind]
    found = [
        f for f in check(write_folder(files), format=named).findings if f.code is Code.FORMAT_SEEMS_OTHER
    ]
    assert len(found) == (named != format)
    assert all(f"try --format {format}" in finding.message for finding in found)


def test_examples_that_are_checked_as_images_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "a"}\n')
    report = check(tmp_path / "train.jsonl", format="image-folder")
    assert report.counts == {"ARCHIVE_CORRUPT": 1, "FORMAT_SEEMS_OTHER": 1}


def test_a_sound_dataset_is_taken_as_what_it_is_said_to_be(tmp_path: Path) -> None:
    report = check(write_shapes(tmp_path / "shapes", train=4, val=1), format="yolo")
    assert not report.has_errors and "FORMAT_SEEMS_OTHER" not in report.counts
