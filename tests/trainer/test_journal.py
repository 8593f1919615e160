import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneyard.trainer.journal import MAX_RECORD_BYTES, JournalReader, JournalWriter
from tuneyard.v1.event_pb2 import LogEvent
from tuneyard.v1.trainer_service_pb2 import RunRecord


def log(message: str) -> RunRecord:
    return RunRecord(log=LogEvent(message=message))


def write(path: Path, *messages: str) -> list[int]:
    """Append the messages and return the size of the file after each."""
    sizes = []
    with JournalWriter(path) as writer:
        for message in messages:
            writer.append(log(message))
            sizes.append(path.stat().st_size)
    return sizes


def read(path: Path, *, after: int = 0) -> list[str]:
    with JournalReader(path, after=after) as reader:
        return [record.log.message for record in reader.read()]


def test_records_come_back_in_order_with_numbers_from_one(tmp_path: Path) -> None:
    write(tmp_path / "journal", "a", "b", "c")
    with JournalReader(tmp_path / "journal") as reader:
        records = reader.read()
    assert [(r.run_sequence, r.log.message) for r in records] == [(1, "a"), (2, "b"), (3, "c")]
    assert all(r.time.seconds > 0 for r in records)


def test_a_journal_that_does_not_exist_yet_is_empty_and_then_found(tmp_path: Path) -> None:
    reader = JournalReader(tmp_path / "journal")
    assert reader.read() == []
    write(tmp_path / "journal", "a")
    assert [r.log.message for r in reader.read()] == ["a"]


def test_a_reader_begins_after_a_record(tmp_path: Path) -> None:
    write(tmp_path / "journal", "a", "b", "c")
    assert read(tmp_path / "journal", after=2) == ["c"]
    assert read(tmp_path / "journal", after=3) == []


def test_a_reader_follows_a_growing_file_in_limited_batches(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with JournalWriter(path) as writer, JournalReader(path) as reader:
        for number in range(7):
            writer.append(log(str(number)))
        assert [len(reader.read(limit=3)) for _ in range(4)] == [3, 3, 1, 0]
        writer.append(log("next"))
        assert [r.run_sequence for r in reader.read()] == [8]


def test_a_batch_is_limited_in_bytes_but_never_empty(tmp_path: Path) -> None:
    write(tmp_path / "journal", "x" * 1000, "y" * 1000, "z")
    with JournalReader(tmp_path / "journal") as reader:
        assert [len(reader.read(limit_bytes=500)) for _ in range(4)] == [1, 1, 1, 0]


def test_records_larger_than_a_block_are_read(tmp_path: Path) -> None:
    large = "x" * (MAX_RECORD_BYTES - 1000)
    write(tmp_path / "journal", "a", large, "b")
    with JournalReader(tmp_path / "journal") as reader:
        assert [r.log.message for r in reader.read(limit_bytes=4 * MAX_RECORD_BYTES)] == ["a", large, "b"]


def test_a_record_over_the_limit_is_refused_and_leaves_the_journal_usable(tmp_path: Path) -> None:
    with JournalWriter(tmp_path / "journal") as writer:
        with pytest.raises(ValueError, match="over the limit"):
            writer.append(log("x" * MAX_RECORD_BYTES))
        assert writer.append(log("a")) == 1
    assert read(tmp_path / "journal") == ["a"]


def test_a_full_disk_raises_and_leaves_the_journal_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite = os.pwrite
    with JournalWriter(tmp_path / "journal") as writer:
        writer.append(log("a"))
        monkeypatch.setattr(os, "pwrite", lambda file, data, at: pwrite(file, data[:5], at))
        with pytest.raises(OSError) as full:
            writer.append(log("lost"))
        monkeypatch.undo()
        assert full.value.errno == errno.ENOSPC
        assert writer.append(log("b")) == 2
    assert read(tmp_path / "journal") == ["a", "b"]


def test_threads_share_a_writer_without_gaps(tmp_path: Path) -> None:
    with JournalWriter(tmp_path / "journal") as writer:
        threads = [
            threading.Thread(target=lambda: [writer.append(log("x")) for _ in range(200)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with JournalReader(tmp_path / "journal") as reader:
        assert [r.run_sequence for r in reader.read(limit=1000)] == list(range(1, 801))


def test_a_second_writer_continues_the_numbers(tmp_path: Path) -> None:
    write(tmp_path / "journal", "a", "b")
    with JournalWriter(tmp_path / "journal") as writer:
        assert writer.append(log("c")) == 3
    assert read(tmp_path / "journal") == ["a", "b", "c"]


messages = st.lists(st.text(max_size=40), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(messages=messages, cut=st.integers(min_value=0, max_value=10_000))
def test_a_truncated_journal_reads_to_its_last_whole_record(
    tmp_path_factory: pytest.TempPathFactory, messages: list[str], cut: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    sizes = write(path, *messages)
    cut = min(cut, sizes[-1])
    os.truncate(path, cut)
    intact = sum(size <= cut for size in sizes)
    assert read(path) == messages[:intact]
    write(path, "more")
    assert read(path) == [*messages[:intact], "more"]


@settings(max_examples=60, deadline=None)
@given(messages=messages, place=st.floats(min_value=0, max_value=0.999), flip=st.integers(1, 255))
def test_a_corrupt_byte_hides_its_record_and_what_follows(
    tmp_path_factory: pytest.TempPathFactory, messages: list[str], place: float, flip: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    sizes = write(path, *messages)
    data = bytearray(path.read_bytes())
    position = int(place * len(data))
    data[position] ^= flip
    path.write_bytes(data)
    intact = sum(size <= position for size in sizes)
    assert read(path) == messages[:intact]


@settings(max_examples=60, deadline=None)
@given(messages=messages, garbage=st.binary(min_size=1, max_size=200))
def test_garbage_after_the_records_is_not_read_and_is_cut_off_by_the_next_writer(
    tmp_path_factory: pytest.TempPathFactory, messages: list[str], garbage: bytes
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    write(path, *messages)
    with path.open("ab") as file:
        file.write(garbage)
    assert read(path) == messages
    write(path, "more")
    assert read(path) == [*messages, "more"]
