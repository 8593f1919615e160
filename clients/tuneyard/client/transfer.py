"""How far an upload or download is, as its progress callback is told."""

import hashlib
from collections.abc import Callable
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
