"""The two views of a dataset, folder and ZIP file, must not be told apart by what inspects them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneyard.datasets import ArchiveError, Code, open_source, unpack
from tuneyard.datasets.names import is_junk, parents, top_folder

Write = Callable[..., Path]
FILES = {
    "train/a/1.png": b"one",
    "train/a/2.png": b"two",
    "val/a/3.png": b"three",
    "train/b/": b"",
    "train/.DS_Store": b"j",
}


@pytest.mark.parametrize("prefix", ["", "set/", "outer/inner/"])
def test_folder_zip_and_what_is_unpacked_look_the_same(
    write_zip: Write, write_folder: Write, tmp_path: Path, prefix: str
) -> None:
    archive = write_zip(FILES, prefix=prefix)
    unpack(archive, tmp_path / "out")
    for path in (archive, write_folder(FILES, prefix=prefix), tmp_path / "out"):
        with open_source(path) as source:
            assert source.names() == ("train/a/1.png", "train/a/2.png", "val/a/3.png")
            assert source.folders == ("train", "train/a", "train/b", "val", "val/a")
            assert (source.size("val/a/3.png"), source.read("val/a/3.png")) == (5, b"three")


def test_junk_is_counted_and_left_out(write_zip: Write, write_folder: Write) -> None:
    for path in (write_zip(FILES), write_folder(FILES)):
        with open_source(path) as source:
            assert source.ignored == 1


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["set/train/a/1.png"], "set/"),
        (["outer/set/a/1.png", "outer/set/b/1.png"], "outer/set/"),
        (["train/a/1.png"], ""),
        (["Train/a/1.png"], ""),
        (["cat/1.png", "cat/2.png"], ""),
        (["cat/1.png", "dog/2.png"], ""),
        (["set/train.jsonl", "set/val.jsonl"], "set/"),
        (["set/1.png", "set/1.txt"], "set/"),
        (["images/1.png", "images/1.txt"], ""),
        (["10_sks dog/1.png", "10_sks dog/1.txt"], ""),
        (["10_sks dog/1.png", "10_sks dog/1.txt", "10_sks dog/more/2.png"], ""),
        (["set/10_sks dog/1.png", "set/10_sks dog/more/2.png"], "set/"),
        (["10_sks dog/1.png", "10_sks dog/reg/2.png"], "10_sks dog/"),
        (["10_animals/cover.png", "10_animals/cat/1.png", "10_animals/dog/2.png"], "10_animals/"),
        (["10_set/train/a/1.png", "10_set/val/a/2.png"], "10_set/"),
        (["1.png"], ""),
        ([], ""),
    ],
)
def test_only_a_folder_that_wraps_is_taken_off(files: list[str], expected: str) -> None:
    assert top_folder(files, {folder for name in files for folder in parents(name)}) == expected


_parts = st.sampled_from(["a", "10_b", "train", "images", "1.png", "x.txt"])


@given(st.sets(st.lists(_parts, min_size=1, max_size=4).map("/".join), max_size=6))
def test_taking_a_wrapper_off_leaves_none(names: set[str]) -> None:
    folders = {folder for name in names for folder in parents(name)}
    files = names - folders
    start = len(top_folder(files, folders))
    inner = {name[start:] for name in folders if len(name) > start}
    assert top_folder({name[start:] for name in files}, inner) == ""


@pytest.mark.parametrize("name", ["__MACOSX/a.png", "a/.DS_Store", "Thumbs.db", "a/desktop.ini", "a/._1.png"])
def test_what_systems_leave_behind_is_junk(name: str) -> None:
    assert is_junk(name)
    assert not is_junk("a/1.png")


def test_links_in_a_folder_are_listed_and_not_followed(write_folder: Write, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    root = write_folder({"a/1.png": b"1"})
    (root / "a" / "2.png").symlink_to(secret)
    (root / "b").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(root / "a" / "3.png")
    with open_source(root) as source:
        assert source.names() == ("a/1.png",)
        assert source.links == ("a/2.png", "a/3.png", "b")


def test_a_file_that_became_a_link_is_not_read(write_folder: Write, tmp_path: Path) -> None:
    root = write_folder({"a/1.png": b"1", "b/1.png": b"1"})
    with open_source(root) as source:
        (root / "a" / "1.png").unlink()
        (root / "a" / "1.png").symlink_to(root / "b" / "1.png")
        with pytest.raises(OSError):
            source.read("a/1.png")


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    with pytest.raises(ArchiveError) as error:
        open_source(tmp_path)
    assert error.value.code is Code.ARCHIVE_NAME_UNDECODABLE


def test_a_missing_path_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_source(tmp_path / "nothing.zip")
