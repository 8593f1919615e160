"""How far an upload or download is, as its progress callback is told."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHUNK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True)
class Transfer:
    """How much of one file has been moved. Bytes that the other side already had count as moved."""

    name: str
    done_bytes: int
    total_bytes: int


ProgressCallback = Callable[[Transfer], None]


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def in_turn(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Chunks of a blocking caller, each made in a thread: that may take its time."""
    each = iter(chunks)
    while (chunk := await asyncio.to_thread(next, each, None)) is not None:
        yield chunk
