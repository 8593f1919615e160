"""Bytes between a run and the object store: patient while the store is away, checked, and ended by a cancel.

It knows keys, files and hashes, but neither checkpoints nor artifacts.
"""

import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from tuneyard.storage import ChecksumMismatch, ObjectStore, StoreFull, StoreUnavailable
from tuneyard.trainer.errors import RecipeError

T = TypeVar("T")

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_TOLD_FULL = tuple(f"(os error {number})" for number in sorted(_FULL))
"""What libraries say that are written in Rust, in exceptions of their own."""
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 10.0


class TransferCancelled(Exception):
    """The transfer was given up because the run is to end."""


@dataclass(frozen=True)
class StoredBytes:
    """A file that is in the store, with what proves it whole."""

    key: str
    size_bytes: int
    sha256: str


@dataclass(kw_only=True)
class Transfers:
    """The run's way to the store, which is opened at the first use. Thread-safe.

    A store that does not answer is tried again with growing pauses for `patience`, then RecipeError
    STORE_UNAVAILABLE is raised. `on_waiting` is called at the first failure of a transfer; `is_cancelled`
    is asked between tries and blocks. `down_seconds` lets a test take the store away for the first seconds.
    """

    open_store: Callable[[], ObjectStore]
    patience: timedelta = timedelta(minutes=5)
    is_cancelled: Callable[[], bool] = lambda: False
    on_waiting: Callable[[], None] = lambda: None
    down_seconds: float = 0.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _store: ObjectStore | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._down_until = self.clock() + self.down_seconds

    def upload(self, path: Path, key: str) -> StoredBytes:
        """Stores a local file; returns once the store has all of it.

        Raises RecipeError STORE_UNAVAILABLE or STORAGE_FULL, TransferCancelled, or OSError of the local file.
        """
        digest, size_bytes = self._hash(path)
        self._patiently(lambda store: store.put_file(key, path, sha256=digest))
        return StoredBytes(key, size_bytes, digest)

    def download(self, key: str, path: Path, *, sha256: str) -> None:
        """Writes an object to a local file, and goes on where it was when the store was away.

        Raises ChecksumMismatch or ObjectNotFound where the bytes are not those promised, RecipeError as
        `upload` does (STORAGE_FULL is then the trainer's disk), TransferCancelled.
        """
        digest = hashlib.sha256()
        with disk_full_is_told(), path.open("wb") as file:

            def go_on(store: ObjectStore) -> None:
                with store.read(key, offset=file.tell()) as chunks:
                    for chunk in chunks:
                        self._check_cancelled()
                        file.write(chunk)
                        digest.update(chunk)

            self._patiently(go_on)
        if digest.hexdigest() != sha256:
            raise ChecksumMismatch(key)

    def _patiently(self, action: Callable[[ObjectStore], T]) -> T:
        deadline = self.clock() + self.patience.total_seconds()
        pause = _FIRST_PAUSE_SECONDS
        while True:
            self._check_cancelled()
            try:
                return action(self._opened())
            except StoreFull as error:
                raise RecipeError(
                    "The object store has no room left.",
                    reason="STORAGE_FULL",
                    remedies=("Free space in the object store, then resume or rerun the job.",),
                    retryable=True,
                ) from error
            except StoreUnavailable as error:
                if self.clock() >= deadline:
                    raise _unavailable(self.patience) from error
                self.on_waiting()
            self._wait(min(pause, max(0.0, deadline - self.clock())))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _opened(self) -> ObjectStore:
        if self.clock() < self._down_until:
            raise StoreUnavailable("the store is away, by request of a test")
        with self._lock:
            if self._store is None:
                self._store = self.open_store()
            return self._store

    def _wait(self, seconds: float) -> None:
        end = self.clock() + seconds
        while (left := end - self.clock()) > 0:
            self._check_cancelled()
            self.sleep(min(left, 0.1))

    def _check_cancelled(self) -> None:
        if self.is_cancelled():
            raise TransferCancelled

    def _hash(self, path: Path) -> tuple[str, int]:
        digest, size_bytes = hashlib.sha256(), 0
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(1 << 20):
                self._check_cancelled()
                digest.update(chunk)
                size_bytes += len(chunk)
        return digest.hexdigest(), size_bytes


@contextmanager
def disk_full_is_told() -> Iterator[None]:
    """Turns what a full disk raises into RecipeError STORAGE_FULL."""
    try:
        yield
    except Exception as error:  # see `is_disk_full`
        if isinstance(error, RecipeError) or not is_disk_full(error):
            raise
        raise disk_full() from error


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that a disk has no room, or was raised while such an error was handled.

    torch tells of what it was writing, and safetensors in a type of its own.
    """
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno in _FULL:
            return True
        if any(text in str(found) for text in _TOLD_FULL):
            return True
        found = found.__cause__ or found.__context__
    return False


def disk_full() -> RecipeError:
    """The error of a run that finds no room on the trainer's disk."""
    return RecipeError(
        "The trainer's disk is full.",
        reason="STORAGE_FULL",
        remedies=("Free space on the trainer's machine, or lower the size limit of its cache.",),
        retryable=True,
    )


def local_path(folder: Path, name: str) -> Path:
    """Where a stored file belongs below a folder; raises ValueError for a name that leads out of it."""
    path = Path(os.path.normpath(folder / name))
    if not path.is_relative_to(folder) or path == folder:
        raise ValueError(f"{name!r} leads out of its folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _unavailable(patience: timedelta) -> RecipeError:
    return RecipeError(
        f"The object store did not answer for {patience.total_seconds():.0f} seconds.",
        reason="STORE_UNAVAILABLE",
        remedies=("Check the object store, then rerun the job.",),
        retryable=True,
    )
