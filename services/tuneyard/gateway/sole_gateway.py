"""Admits one gateway to a SQLite database, by a lock on a file beside it that ends with the process."""

import fcntl
import os
from pathlib import Path


class DatabaseInUse(Exception):
    """Another gateway has the database; the message is for whoever started this one."""


class SoleGateway:
    """The lock. Hold it as long as the database is used."""

    def __init__(self, database_path: Path) -> None:
        """Take the lock; DatabaseInUse if another process has it."""
        database_path.parent.mkdir(parents=True, exist_ok=True)
        path = database_path.with_name(f"{database_path.name}.lock")
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise DatabaseInUse(
                f"another gateway uses {database_path}: stop it, choose another TUNEYARD_DATA_DIR, "
                "or use PostgreSQL, which several gateways can share"
            ) from None

    def release(self) -> None:
        """Let another gateway in."""
        os.close(self._descriptor)
