"""Checking a dataset without some of its files, named one by one or by what is wrong with them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tuneyard.datasets import Code, Exclusion, check, image_folder, open_source, prepare
from tuneyard.datasets.child import read_exclusion, write_exclusion

Files = dict[str, bytes]
WriteZip = Callable[..., Path]


@pytest.fixture
def archive(clean_files: Files, write_zip: WriteZip) -> Path:
    """A clean set with two copies of an image and an unreadable file."""
    copy = clean_files["train/cat/0.png"]
    return write_zip(
        clean_files | {"train/cat/x.png": copy, "train/cat/y.png": copy, "train/cat/z.png": b"text"},
        prefix="set/",
    )


def test_named_files_are_as_if_they_had_never_been_there(archive: Path) -> None:
    report = check(archive, format="image-folder", exclusion=Exclusion(paths=["train/cat/x.png"]))
    assert report.counts["DUPLICATE_IMAGE"] == 1
    assert report.excluded == ("train/cat/x.png", "train/cat/z.png")
    assert (report.samples, report.files["total"]) == (241, 242)


def test_files_with_a_finding_of_a_code_are_left_out(archive: Path) -> None:
    codes = [Code.DUPLICATE_IMAGE, Code.IMAGE_UNREADABLE]
    report = check(archive, format="image-folder", exclusion=Exclusion(codes=codes))
    assert report.findings == ()
    assert report.excluded == ("train/cat/x.png", "train/cat/y.png", "train/cat/z.png")


def test_a_code_reaches_files_that_no_report_lists(clean_files: Files, write_zip: WriteZip) -> None:
    copy = clean_files["train/cat/0.png"]
    copies = {f"train/cat/copy-{number:04}.png": copy for number in range(1100)}
    path = write_zip(clean_files | copies, method=0)
    report = check(path, format="image-folder", exclusion=Exclusion(codes=[Code.DUPLICATE_IMAGE]))
    assert set(report.excluded) == set(copies)
    assert report.findings == ()


def test_what_is_left_out_is_not_unpacked_and_no_sample(archive: Path, tmp_path: Path) -> None:
    report = check(archive, format="image-folder", exclusion=Exclusion(paths=["val/cat/0.png"]))
    root = tmp_path / "unpacked"
    prepare(archive, root, format="image-folder", report=report)
    assert not (root / "val/cat/0.png").exists() and (root / "val/cat/1.png").exists()
    assert len(image_folder.index(open_source(root)).samples) == report.samples


def test_a_name_that_is_not_there_is_an_error_that_names_near_ones(archive: Path) -> None:
    report = check(archive, format="image-folder", exclusion=Exclusion(paths=["cat/0.png"]))
    unknown = [finding for finding in report.findings if finding.code is Code.EXCLUDED_FILE_UNKNOWN]
    assert [finding.path for finding in unknown] == ["cat/0.png"]
    assert "Is 'train/cat/0.png' or 'train/dog/0.png' or 'val/cat/0.png' meant?" in unknown[0].message
    assert report.has_errors and "cat/0.png" not in report.excluded


def test_a_mistyped_name_is_told_beside_the_right_one(archive: Path) -> None:
    report = check(archive, format="image-folder", exclusion=Exclusion(paths=["train/cat/0.pgn", "zzz"]))
    messages = [f.message for f in report.findings if f.code is Code.EXCLUDED_FILE_UNKNOWN]
    assert "'train/cat/0.png'" in messages[0] and "meant" not in messages[1]


def test_a_folder_that_is_to_be_left_out_is_told_and_stays(archive: Path) -> None:
    report = check(archive, format="image-folder", exclusion=Exclusion(paths=["train/cat"]))
    assert report.counts["EXCLUDED_FOLDER"] == 1 and not report.has_errors


def test_a_class_that_is_left_empty_is_an_error(archive: Path) -> None:
    paths = [f"val/cat/{number}.png" for number in range(20)]
    report = check(archive, format="image-folder", exclusion=Exclusion(paths=paths))
    assert report.has_errors and report.counts["CLASS_EMPTY"] == 1


def test_an_exclusion_survives_its_way_to_a_child(tmp_path: Path) -> None:
    exclusion = Exclusion(paths=("ä b/1.png",), codes=(Code.IMAGE_BLANK,))
    write_exclusion(tmp_path / "exclusion.json", exclusion)
    assert read_exclusion(tmp_path / "exclusion.json") == exclusion
