"""Cuts a stream of chunks into the parts of an upload and stores them while the next ones arrive.

Memory stays flat: one part is being stored, one is being filled.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from tuneyard.gateway.store_calls import in_store
from tuneyard.storage import MAX_PARTS, ObjectStore, UploadPart

MIN_PART_BYTES: Final = 8 * 1024 * 1024
_MIB: Final = 1024 * 1024


def part_size_for(size_bytes: int) -> int:
    """The size of the parts of an upload: small, so that little is sent again after an interruption."""
    needed = -(-size_bytes // (MAX_PARTS - 1))
    return max(MIN_PART_BYTES, -(-needed // _MIB) * _MIB)


class PartWriter:
    """Writes an upload's bytes from the beginning of part `first_part` on, up to `room_bytes` of them."""

    def __init__(
        self,
        store: ObjectStore,
        key: str,
        upload_id: str,
        *,
        part_size: int,
        first_part: int,
        room_bytes: int,
    ) -> None:
        self._put: Callable[[int, memoryview], UploadPart] = lambda number, data: store.put_part(
            key, upload_id, number, data
        )
        self._part_size = part_size
        self.first_part = self._number = first_part
        self._room = room_bytes
        self._buffer = bytearray(min(part_size, room_bytes))
        self._filled = 0
        self._storing: asyncio.Task[UploadPart] | None = None
        self._stored_buffer: bytearray | None = None

    @property
    def room_bytes(self) -> int:
        """How many bytes are still to come."""
        return self._room

    async def write(self, chunk: bytes) -> None:
        """Take a chunk of at most `room_bytes`; wait while the part before is being stored."""
        if len(chunk) > self._room:
            raise ValueError("more bytes than there is room for")
        view = memoryview(chunk)
        self._room -= len(view)
        while view:
            taken = view[: len(self._buffer) - self._filled]
            self._buffer[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            view = view[len(taken) :]
            if self._filled == len(self._buffer):
                await self._store(next_size=min(self._part_size, self._room + len(view)))

    @property
    def begun(self) -> tuple[int, memoryview]:
        """The number of the part that is being filled, and what there is of it."""
        return self._number, memoryview(self._buffer)[: self._filled]

    async def flush(self) -> None:
        """Store every whole part, and wait until it is."""
        if self._filled and self._filled == len(self._buffer):
            # A writer that was cancelled filled it, and did not come to store it.
            await self._store(next_size=0)
        await self._wait()

    async def _wait(self) -> None:
        if self._storing is not None:
            # The thread cannot be stopped: a caller that leaves earlier would let two writers meet.
            await _finished(self._storing)
            self._storing = None

    async def _store(self, *, next_size: int) -> None:
        await self._wait()
        full, spare = self._buffer, self._stored_buffer
        data = memoryview(full)
        self._storing = asyncio.create_task(in_store(self._put, self._number, data))
        self._number += 1
        self._stored_buffer = full
        self._buffer = spare if spare is not None and len(spare) == next_size else bytearray(next_size)
        self._filled = 0


async def _finished(task: "asyncio.Task[UploadPart]") -> None:
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
