"""The file with a worker's output stays short, and nothing that is written to it meanwhile hurts."""

import asyncio
import os
from pathlib import Path

from tuneyard.trainer.worker_output import DROPPED, cut, keep_short, tail


def _log(path: Path, lines: int) -> Path:
    path.write_text("".join(f"line {number}\n" for number in range(lines)))
    return path


def test_the_tail_of_a_file_is_its_end(tmp_path: Path) -> None:
    log = _log(tmp_path / "log", 1000)
    assert tail(log, limit_bytes=20).endswith("line 998\nline 999")
    assert len(tail(log, limit_bytes=20)) <= 20
    assert tail(tmp_path / "none") == ""


def test_a_file_within_the_limit_is_left_alone(tmp_path: Path) -> None:
    log = _log(tmp_path / "log", 10)
    before = log.read_bytes()
    cut(log, limit_bytes=len(before), keep_bytes=10)
    assert log.read_bytes() == before


def test_a_file_beyond_the_limit_keeps_its_last_whole_lines(tmp_path: Path) -> None:
    log = _log(tmp_path / "log", 1000)
    cut(log, limit_bytes=1000, keep_bytes=100)
    first, *rest = log.read_text().splitlines()
    assert first == DROPPED.strip()
    assert rest[-1] == "line 999" and all(line.startswith("line ") for line in rest)
    assert log.stat().st_size <= 100 + len(DROPPED)


def test_one_endless_line_is_cut_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x" * 5000)
    cut(log, limit_bytes=1000, keep_bytes=100)
    assert log.read_text() == DROPPED + "x" * 100


def test_a_writer_goes_on_at_the_new_end(tmp_path: Path) -> None:
    log = _log(tmp_path / "log", 1000)
    writer = os.open(log, os.O_WRONLY | os.O_APPEND)
    cut(log, limit_bytes=1000, keep_bytes=100)
    os.write(writer, b"after\n")
    os.close(writer)
    assert log.read_text().endswith("line 999\nafter\n")
    assert log.stat().st_size < 1000


def test_a_file_that_is_gone_is_no_error(tmp_path: Path) -> None:
    cut(tmp_path / "none", limit_bytes=1, keep_bytes=1)
    assert not (tmp_path / "none").exists()


async def test_a_file_is_cut_while_it_grows(tmp_path: Path) -> None:
    log = _log(tmp_path / "log", 1)
    keeper = asyncio.create_task(keep_short(log, every_seconds=0.01, limit_bytes=1000, keep_bytes=100))
    with log.open("ab", buffering=0) as writer:
        async with asyncio.timeout(30):
            for _ in range(3):
                writer.write(b"word\n" * 1000)
                while log.stat().st_size > 1000:
                    await asyncio.sleep(0.005)
    keeper.cancel()
    assert log.read_text().startswith(DROPPED)
    assert log.read_text().endswith("word\n")
