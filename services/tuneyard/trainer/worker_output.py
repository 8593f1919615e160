"""The file that a worker's output goes to: its end is read, and its length kept in bounds.

The worker writes to the file itself, so that its words outlive the trainer; it appends, and so goes on at the
new end of a file that was cut.
"""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

LIMIT_BYTES: Final = 16 << 20
KEEP_BYTES: Final = 1 << 20
DROPPED: Final = "(earlier output was dropped)\n"


def tail(path: Path, *, limit_bytes: int = 4096) -> str:
    """The end of a log file; empty if there is none."""
    try:
        with path.open("rb") as file:
            size_bytes = file.seek(0, os.SEEK_END)
            file.seek(max(0, size_bytes - limit_bytes))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""


async def keep_short(
    path: Path,
    *,
    every_seconds: float = 1.0,
    limit_bytes: int = LIMIT_BYTES,
    keep_bytes: int = KEEP_BYTES,
) -> None:
    """Cut a file whenever it is found too long, until cancelled."""
    while True:
        await asyncio.sleep(every_seconds)
        await asyncio.to_thread(cut, path, limit_bytes=limit_bytes, keep_bytes=keep_bytes)


def cut(path: Path, *, limit_bytes: int = LIMIT_BYTES, keep_bytes: int = KEEP_BYTES) -> None:
    """Leave the last lines of a file that is longer than `limit_bytes`; one that is gone is fine.

    What is written to it in that very moment may be lost.
    """
    with suppress(OSError), path.open("rb+") as file:
        size_bytes = file.seek(0, os.SEEK_END)
        if size_bytes <= limit_bytes:
            return
        file.seek(size_bytes - keep_bytes)
        kept = file.read(keep_bytes)
        _, newline, lines = kept.partition(b"\n")
        # The beginning is overwritten before the rest is cut off: a reader never finds an empty file.
        file.seek(0)
        file.write(DROPPED.encode() + (lines if newline else kept))
        file.truncate()
