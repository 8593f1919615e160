"""The check as a program: its output and exit status, in this process and as a real child under limits."""

import json
import signal
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tuneyard.datasets import Code, Progress, Report
from tuneyard.datasets.__main__ import main
from tuneyard.datasets.child import command, line_of, parse_line, report_of_death

MIB = 1 << 20


def large_png(side: int) -> bytes:
    """A blank grayscale image: small as a file, side x side bytes in memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((side + 1) * side), 1)
    header = struct.pack(">LLBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[str]]]:
    """Runs the program in this process, which must not take on the limits."""
    monkeypatch.setattr("tuneyard.datasets.__main__.resource.setrlimit", lambda *_: None)

    def run(*arguments: str) -> tuple[int, list[str]]:
        status = main(arguments)
        return status, capsys.readouterr().out.splitlines()

    return run


Run = Callable[..., tuple[int, list[str]]]


def test_lines_survive_their_way() -> None:
    for value in (Progress(stage="reading images", done=1, total=2), Report(format="image-folder")):
        assert parse_line(line_of(value)) == value


def test_json_lines_are_progress_and_then_the_report(
    clean_files: dict[str, bytes], write_zip: Callable[..., Path], run: Run
) -> None:
    status, lines = run("check", str(write_zip(clean_files)), "--format", "image-folder", "--json-lines")
    *progress, report = map(parse_line, lines)
    assert status == 0
    assert isinstance(report, Report) and not report.findings
    assert Progress(stage="reading images", done=240, total=240) in progress


def test_without_json_lines_the_report_is_one_document(write_zip: Callable[..., Path], run: Run) -> None:
    status, lines = run("check", str(write_zip({})), "--format", "image-folder")
    assert status == 1
    assert json.loads("\n".join(lines))["findings"][0]["code"] == "NO_IMAGES"


def test_wrong_usage_has_its_own_status(tmp_path: Path, run: Run) -> None:
    assert run("check", str(tmp_path / "nothing"), "--format", "image-folder") == (2, [])
    assert run("check", str(tmp_path), "--format", "imagefolder") == (2, [])
    with pytest.raises(SystemExit) as usage:
        run("check")
    assert usage.value.code == 2


@pytest.mark.parametrize(
    ("returncode", "code", "named"),
    [
        (3, Code.CHECK_OUT_OF_MEMORY, "memory"),
        (-signal.SIGXCPU, Code.CHECK_OUT_OF_TIME, "time"),
        (-signal.SIGSEGV, Code.CHECK_CRASHED, "SIGSEGV"),
        (1, Code.CHECK_CRASHED, "exit status 1"),
    ],
)
def test_each_death_of_a_child_is_told_apart(returncode: int, code: Code, named: str) -> None:
    report = report_of_death(returncode, format="image-folder")
    assert report.findings[0].code is code and named in report.findings[0].message
    assert report.has_errors


@pytest.mark.integration
def test_a_child_under_limits_gives_the_report(
    clean_files: dict[str, bytes], write_zip: Callable[..., Path]
) -> None:
    arguments = command(
        write_zip(clean_files), format="image-folder", limit_memory_bytes=512 * MIB, limit_seconds=60
    )
    child = subprocess.run(arguments, capture_output=True, check=True)
    report = parse_line(child.stdout.splitlines()[-1])
    assert isinstance(report, Report) and report.samples == 240


@pytest.mark.integration
def test_a_child_that_reaches_its_memory_limit_says_so(write_zip: Callable[..., Path]) -> None:
    path = write_zip({"a/1.png": large_png(9000), "b/1.png": b""})
    child = subprocess.run(
        command(path, format="image-folder", limit_memory_bytes=240 * MIB), capture_output=True, check=False
    )
    assert (
        report_of_death(child.returncode, format="image-folder").findings[0].code is Code.CHECK_OUT_OF_MEMORY
    )


@pytest.mark.integration
def test_a_child_that_reaches_its_time_limit_says_so(write_zip: Callable[..., Path]) -> None:
    one = large_png(9000)
    path = write_zip({f"{name}/{number}.png": one + bytes([number]) for name in "ab" for number in range(20)})
    child = subprocess.run(
        command(path, format="image-folder", limit_seconds=1), capture_output=True, check=False
    )
    assert report_of_death(child.returncode, format="image-folder").findings[0].code is Code.CHECK_OUT_OF_TIME
