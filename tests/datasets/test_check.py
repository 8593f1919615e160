"""The entry point: formats, archives that cannot be looked into, and paths that are not there."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tuneyard.datasets import FORMATS, ArchiveLimits, Code, FormatNotSupported, Progress, check


def test_the_formats_are_those_of_the_command_line() -> None:
    assert FORMATS == ("image-folder", "yolo", "captioned-images", "jsonl")


@pytest.mark.parametrize("format", FORMATS)
def test_an_empty_folder_is_a_report_of_every_format(tmp_path: Path, format: str) -> None:
    report = check(tmp_path, format=format)
    assert report.format == format and report.has_errors


def test_an_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(FormatNotSupported, match="captioned-images") as error:
        check(tmp_path, format="imagefolder")
    assert error.value.format == "imagefolder"


def test_an_unacceptable_archive_is_a_report_that_names_the_member(write_zip: Callable[..., Path]) -> None:
    report = check(write_zip({"a/1.png": b"", "a/inner.zip": b""}), format="image-folder")
    assert [(finding.code, finding.path) for finding in report.findings] == [
        (Code.ARCHIVE_NESTED, "a/inner.zip")
    ]
    assert report.has_errors and report.findings[0].remedy


def test_a_damaged_file_that_is_no_image_is_found_too(write_zip: Callable[..., Path]) -> None:
    path = write_zip({"a/1.png": b"", "notes.txt": b"some notes"}, method=0)
    path.write_bytes(path.read_bytes().replace(b"some notes", b"some Notes"))
    assert check(path, format="image-folder").findings[0].path == "notes.txt"


def test_limits_reach_the_archive(write_zip: Callable[..., Path]) -> None:
    path = write_zip({"a/1.png": b"", "a/2.png": b""})
    report = check(path, format="image-folder", limits=ArchiveLimits(max_members=1))
    assert report.findings[0].code is Code.ARCHIVE_TOO_MANY_MEMBERS


def test_progress_counts_to_the_end_of_each_stage(
    clean_files: dict[str, bytes], write_zip: Callable[..., Path]
) -> None:
    seen: list[Progress] = []
    check(write_zip(clean_files), format="image-folder", progress=seen.append)
    ends = [progress for progress in seen if progress.done == progress.total]
    assert [(progress.stage, progress.total) for progress in ends] == [
        ("reading archive", 240),
        ("reading images", 240),
        ("comparing images", 136),
    ]


def test_a_path_that_is_not_there_is_no_finding(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        check(tmp_path / "nothing", format="image-folder")
