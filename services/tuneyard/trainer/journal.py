"""A run's journal: an append-only file of records that survives the kill of any process at any moment.

The worker is the only writer. A record is its payload's length and CRC-32 (both u32, little-endian) and the
payload, a serialized `RunRecord`, put down by a single write. Nothing is fsynced: the page cache outlives
every process, and what a machine's loss takes with it is not promised.
"""

import errno
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from google.protobuf.message import DecodeError

from tuneyard.v1.trainer_service_pb2 import RunRecord

MAX_RECORD_BYTES = 2 << 20
"""So that any single record fits into one gRPC message of the default limit, 4 MiB."""

_HEADER = struct.Struct("<II")
_READ_BYTES = 256 << 10


class JournalWriter:
    """Appends records and numbers them from 1, or from where the file's last intact record ends.

    Opening cuts off a torn tail, so that what is appended can be read. All methods are thread-safe.
    """

    def __init__(self, path: Path, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        with JournalReader(path) as reader:
            self._last = reader.skip()
            self._end = reader.offset
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._file, self._end)

    @property
    def last_sequence(self) -> int:
        """The number of the newest record; 0 before the first."""
        return self._last

    def append(self, record: RunRecord) -> int:
        """Write a record and return its `run_sequence`.

        Sets `run_sequence`, and `time` unless it is set. Raises OSError where the record cannot be written
        whole (the file is then as before), ValueError where it is larger than `MAX_RECORD_BYTES`.
        """
        with self._lock:
            record.run_sequence = self._last + 1
            if not record.HasField("time"):
                record.time.FromNanoseconds(self._clock_ns())
            self._write(record.SerializeToString())
            self._last += 1
            return self._last

    def close(self) -> None:
        """Close the file; idempotent."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, payload: bytes) -> None:
        if len(payload) > MAX_RECORD_BYTES:
            raise ValueError(f"a record of {len(payload)} bytes is over the limit of {MAX_RECORD_BYTES}")
        frame = _HEADER.pack(len(payload), zlib.crc32(payload)) + payload
        written = os.pwrite(self._file, frame, self._end)
        if written != len(frame):
            # A full disk takes a part. The next record goes to the same place, and no reader sees this one.
            os.ftruncate(self._file, self._end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._end += written


class JournalReader:
    """Reads the records after `after`, as far as they are intact, again and again while the file grows.

    A file that does not exist yet reads as empty. What looks torn or corrupt may be a write in progress: the
    next call looks at it again. Not thread-safe.
    """

    def __init__(self, path: Path, *, after: int = 0) -> None:
        self._path = path
        self._after = after
        self._file = -1
        self._offset = 0
        self._last = 0

    @property
    def last_sequence(self) -> int:
        """The number of the last record that was read or skipped."""
        return self._last

    @property
    def offset(self) -> int:
        """Where in the file the next record begins."""
        return self._offset

    def read(self, *, limit: int = 500, limit_bytes: int = 1 << 20) -> list[RunRecord]:
        """The next records: at most `limit`, and once there is one, at most `limit_bytes` of payload."""
        records: list[RunRecord] = []
        size_bytes = 0
        for payload in self._frames():
            if self._last >= self._after:
                if records and size_bytes + len(payload) > limit_bytes:
                    break
                record = _parse(payload, sequence=self._last + 1)
                if record is None:
                    break
                records.append(record)
                size_bytes += len(payload)
            self._advance(payload)
            if len(records) >= limit:
                break
        return records

    def skip(self) -> int:
        """Go past every intact record and return the number of the last."""
        for payload in self._frames():
            if _parse(payload, sequence=self._last + 1) is None:
                break
            self._advance(payload)
        return self._last

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _advance(self, payload: bytes) -> None:
        self._offset += _HEADER.size + len(payload)
        self._last += 1

    def _frames(self) -> Iterator[bytes]:
        """The payloads from `self._offset` on whose length and CRC are right; the caller advances."""
        if not self._open():
            return
        block, start = b"", self._offset
        while True:
            at = self._offset - start
            needed = _HEADER.size
            if len(block) - at >= needed:
                length, crc = _HEADER.unpack_from(block, at)
                if not 0 < length <= MAX_RECORD_BYTES:
                    return
                needed += length
                payload = block[at + _HEADER.size : at + needed]
                if len(payload) == length:
                    if zlib.crc32(payload) != crc:
                        return
                    yield payload
                    continue
            block, start = os.pread(self._file, max(needed, _READ_BYTES), self._offset), self._offset
            if len(block) < needed:
                return

    def _open(self) -> bool:
        if self._file < 0:
            try:
                self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return False
        return True


def _parse(payload: bytes, *, sequence: int) -> RunRecord | None:
    """The record, unless it is none or has another number: a CRC may be right by chance."""
    try:
        record = RunRecord.FromString(payload)
    except DecodeError:
        return None
    return record if record.run_sequence == sequence else None
