"""Single files as datasets: gzip that is damaged, too much, or something else."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.defects_jsonl import encoded, pairs
from tuneyard.datasets import ArchiveLimits, Cancelled, Code, check, prepare
from tuneyard.datasets.jsonl import read
from tuneyard.datasets.jsonl_source import SingleFile, is_single_file, unpack_single_file

LINES = encoded(pairs(200))


def tarred(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.jsonl"), io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(gzip.compress(LINES)[:-9], Code.ARCHIVE_CORRUPT, id="cut"),
        pytest.param(gzip.compress(LINES)[:2000] + b"?" * 99, Code.ARCHIVE_CORRUPT, id="damaged"),
        pytest.param(gzip.compress(LINES) + b"trailing", Code.ARCHIVE_CORRUPT, id="trailing"),
        pytest.param(b"\x1f\x8bnothing", Code.ARCHIVE_CORRUPT, id="nothing"),
        pytest.param(b"\x1f\x8b", Code.ARCHIVE_CORRUPT, id="mark alone"),
        pytest.param(gzip.compress(tarred(b"{}")), Code.ARCHIVE_NESTED, id="tar"),
        pytest.param(gzip.compress(b"a" * (17 << 20)), Code.ARCHIVE_BOMB, id="bomb"),
        pytest.param(b"\x28\xb5\x2f\xfd....", Code.ARCHIVE_COMPRESSION_UNSUPPORTED, id="zstd"),
        pytest.param(b"7z\xbc\xaf\x27\x1c....", Code.ARCHIVE_COMPRESSION_UNSUPPORTED, id="7z"),
    ],
)
def test_what_cannot_be_inflated_is_refused_with_its_code(data: bytes, code: Code, tmp_path: Path) -> None:
    (tmp_path / "set.jsonl.gz").write_bytes(data)
    assert list(check(tmp_path / "set.jsonl.gz", format="jsonl").counts) == [code]


def test_limits_reach_gzip(tmp_path: Path) -> None:
    (tmp_path / "set.gz").write_bytes(gzip.compress(LINES))
    report = check(tmp_path / "set.gz", format="jsonl", limits=ArchiveLimits(max_member_bytes=1000))
    assert list(report.counts) == [Code.ARCHIVE_TOO_LARGE]


def test_several_gzip_members_and_padding_are_one_file(tmp_path: Path) -> None:
    (tmp_path / "set.jsonl.gz").write_bytes(gzip.compress(LINES) * 2 + bytes(512))
    source = SingleFile(tmp_path / "set.jsonl.gz")
    assert source.names() == ("set.jsonl",) and source.size("set.jsonl") == 2 * len(LINES)
    assert source.read("set.jsonl") == LINES * 2


@pytest.mark.parametrize(
    ("given", "called"),
    [
        ("answers.jsonl", "answers.jsonl"),
        ("Answers of May.JSON.GZ", "Answers of May.JSON"),
        ("C:\\data\\answers.ndjson", "answers.ndjson"),
        ("/data/answers.txt", "answers.txt.jsonl"),
        ("Support answers", "Support answers.jsonl"),
        ("dataset_info.json", "dataset_info.json"),
        ("", "data.jsonl"),
        ("answers.zip", "data.jsonl"),
        ("._answers.jsonl", "data.jsonl"),
        ("two\nlines.jsonl", "data.jsonl"),
        ("\udcff.jsonl", "data.jsonl"),
        ("я" * 120 + ".jsonl", "data.jsonl"),
        ("..", "data.jsonl"),
    ],
)
def test_findings_call_a_file_as_it_was_uploaded(given: str, called: str, tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(LINES + b"oops\n")
    report = check(tmp_path / "bytes", format="jsonl", file_name=given or "data.jsonl")
    assert [(each.path, each.line) for each in report.findings if each.line] == [(called, 201)]
    prepare(tmp_path / "bytes", tmp_path / "out", format="jsonl", file_name=given or "data.jsonl")
    assert [example.path for example in read(tmp_path / "out", report)] == [called] * 200


def test_folders_and_zip_files_are_no_single_files(tmp_path: Path, write_zip: Callable[..., Path]) -> None:
    assert not is_single_file(tmp_path)
    assert not is_single_file(write_zip({"a.jsonl": LINES}))
    (tmp_path / "a.zip").write_bytes(LINES)
    assert is_single_file(tmp_path / "a.zip")


def test_unpacking_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "set.jsonl").write_bytes(LINES)
    with pytest.raises(Cancelled):
        unpack_single_file(tmp_path / "set.jsonl", tmp_path / "out", should_stop=lambda: True)
    assert [path.name for path in tmp_path.iterdir()] == ["set.jsonl"]


def test_nothing_is_unpacked_over_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "set.jsonl").write_bytes(LINES)
    with pytest.raises(FileExistsError):
        prepare(tmp_path / "set.jsonl", tmp_path, format="jsonl")
