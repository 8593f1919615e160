"""Blocking iterators of bytes, read from coroutines without holding the event loop up."""

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Final, Protocol

from tuneyard.gateway.store_calls import in_store

# Small enough for flat memory, large enough that a message's overhead does not show.
CHUNK_BYTES: Final = 512 * 1024


class ByteSource(Protocol):
    """An iterator that is closed when nobody wants more: a generator, or an object's reader."""

    def __next__(self) -> bytes: ...

    def close(self) -> None: ...


async def in_thread(source: ByteSource) -> AsyncIterator[bytes]:
    """Yield the source's chunks, each read in a thread, the next one while the last is being sent."""
    ahead = asyncio.create_task(in_store(_next, source))
    try:
        while (chunk := await asyncio.shield(ahead)) is not None:
            ahead = asyncio.create_task(in_store(_next, source))
            yield chunk
    finally:
        # The thread must have let go of the source before it is closed.
        await asyncio.wait([ahead])
        if not ahead.cancelled():
            ahead.exception()
        source.close()


def gathered(chunks: Iterator[bytes], size_bytes: int = CHUNK_BYTES) -> Generator[bytes, None, None]:
    """The same bytes in fewer pieces: none smaller than `size_bytes` but the last."""
    pieces: list[bytes] = []
    held = 0
    for chunk in chunks:
        pieces.append(chunk)
        held += len(chunk)
        if held >= size_bytes:
            yield b"".join(pieces) if len(pieces) > 1 else pieces[0]
            pieces, held = [], 0
    if held:
        yield b"".join(pieces)


def _next(source: ByteSource) -> bytes | None:
    try:
        return source.__next__()
    except StopIteration:
        return None
