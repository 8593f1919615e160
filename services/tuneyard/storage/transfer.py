"""Moving bytes in flat memory: sources cut into blocks, a reader to close, files that appear whole."""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TypeAlias

from tuneyard.storage.errors import StoreUnavailable

CHUNK_BYTES = 1024 * 1024

Block: TypeAlias = bytes | bytearray | memoryview


class ObjectReader(Iterator[bytes]):
    """An object's bytes in chunks, and a context manager. Exhausting or closing it releases what it holds."""

    def __init__(self, read: Callable[[int], bytes], close: Callable[[], None], *, size_bytes: int) -> None:
        self._read = read
        self._close: Callable[[], None] | None = close
        self._remaining = size_bytes
        if not size_bytes:
            self.close()

    @property
    def remaining_bytes(self) -> int:
        return self._remaining

    def __next__(self) -> bytes:
        if self._close is None:
            raise StopIteration
        try:
            chunk = self._read(min(CHUNK_BYTES, self._remaining))
            if not chunk:
                raise StoreUnavailable("an object ended before its last byte")
        except BaseException:
            self.close()
            raise
        self._remaining -= len(chunk)
        if not self._remaining:
            self.close()
        return chunk

    def close(self) -> None:
        close, self._close = self._close, None
        if close is not None:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def empty_reader() -> ObjectReader:
    return ObjectReader(lambda size: b"", lambda: None, size_bytes=0)


def iterate(data: BinaryIO | Iterable[bytes] | bytes) -> Iterator[Block]:
    """Whatever `put` accepts, as non-empty blocks of any size."""
    if isinstance(data, bytes | bytearray | memoryview):
        return iter([data] if len(data) else [])
    read = getattr(data, "read", None)
    if read is not None:
        # A file is iterable too, but by lines.
        return iter(lambda: read(CHUNK_BYTES), b"")
    return (block for block in data if block)


def regroup(data: BinaryIO | Iterable[bytes] | bytes, sizes: Iterator[int]) -> Iterator[bytearray]:
    """The same bytes in blocks of these sizes, the last one shorter; one empty block when there are none."""
    block, size_bytes = bytearray(), next(sizes)
    empty = True
    for piece in iterate(data):
        view = memoryview(piece).cast("B")
        while view:
            if len(block) == size_bytes:
                empty = False
                yield block
                block, size_bytes = bytearray(), next(sizes)
            taken = view[: size_bytes - len(block)]
            block += taken
            view = view[len(taken) :]
    if block or empty:
        yield block


def hash_file(path: Path) -> str:
    """The SHA-256 of a local file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_file(path: Path, chunks: Iterable[bytes], *, sha256: str) -> bool:
    """Write a file that appears whole or not at all; False if the bytes lack the SHA-256 ("" takes any)."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.partial")
    digest = hashlib.sha256()
    try:
        with temporary.open("xb", buffering=0) as file:
            for chunk in chunks:
                write_all(file.fileno(), chunk)
                digest.update(chunk)
        if sha256 and digest.hexdigest() != sha256:
            return False
        temporary.rename(path)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def write_all(descriptor: int, block: Block, *, offset: int | None = None) -> None:
    """Write a whole block, at the descriptor's position or at an offset; one write may take only a part."""
    view = memoryview(block).cast("B")
    while view:
        if offset is None:
            written = os.write(descriptor, view)
        else:
            written = os.pwrite(descriptor, view, offset)
            offset += written
        view = view[written:]


def check_range(offset: int, length: int | None) -> None:
    """Raise ValueError for a range that no object has."""
    if offset < 0 or (length is not None and length < 0):
        raise ValueError("offset and length are not negative")


def utc_now() -> datetime:
    return datetime.now(UTC)
