"""A trainer's data folder: locked for one process, with the trainer's id and the newest controller epoch."""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Self

_MAX_SOCKET_PATH_BYTES = 100  # the kernel's limit is 107


class DataFolderError(Exception):
    """The folder cannot be used; the message is for whoever started the trainer."""


class DataFolderInUse(DataFolderError):
    """Another trainer has the folder."""


class DataFolder:
    """The folder and what the trainer keeps there for good. Not thread-safe."""

    def __init__(self, path: Path, *, lock: int, trainer_id: str, epoch: int) -> None:
        self.path = path
        self.trainer_id = trainer_id
        self._lock = lock
        self._epoch = epoch
        self._socket_dir: Path | None = None

    @classmethod
    def open(cls, path: Path, *, new_id: str) -> Self:
        """Lock the folder, creating it if need be; `new_id` becomes the trainer's id if it has none.

        Raises DataFolderError.
        """
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = path.resolve()
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            return cls._locked(path, lock=lock, new_id=new_id)
        except OSError as error:
            raise DataFolderError(f"the data folder {path}: {error.strerror}") from error

    @classmethod
    def _locked(cls, path: Path, *, lock: int, new_id: str) -> Self:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise DataFolderInUse(f"another trainer uses the data folder {path}") from None
        for folder in ("runs", "cache"):
            (path / folder).mkdir(exist_ok=True, mode=0o700)
        trainer_id = _read(path / "trainer_id")
        if not trainer_id:
            write_durably(path / "trainer_id", new_id.encode())
        epoch = _read(path / "controller_epoch")
        return cls(path, lock=lock, trainer_id=trainer_id or new_id, epoch=int(epoch or 0))

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    @property
    def warm_log(self) -> Path:
        """What the warm server writes to its output."""
        return self.path / "warm.log"

    @property
    def epoch(self) -> int:
        """The newest controller epoch that was seen, in this life of the trainer or an earlier one."""
        return self._epoch

    def raise_epoch(self, epoch: int) -> None:
        """Remember a newer epoch; on the disk before this returns."""
        if epoch > self._epoch:
            write_durably(self.path / "controller_epoch", str(epoch).encode())
            self._epoch = epoch

    def wake_socket(self) -> Path:
        """Where the workers' datagrams go: in the folder, unless its path is too long for a socket."""
        path = self.path / "wake.sock"
        if len(os.fsencode(path)) > _MAX_SOCKET_PATH_BYTES:
            self._socket_dir = self._socket_dir or Path(tempfile.mkdtemp(prefix="tuneyard-"))
            path = self._socket_dir / "wake.sock"
        path.unlink(missing_ok=True)
        return path

    def close(self) -> None:
        """Give the folder up; idempotent."""
        if self._socket_dir is not None:
            shutil.rmtree(self._socket_dir, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file's content, so that a reader finds the old bytes or the new ones, never a part."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    temporary.replace(path)


def write_durably(path: Path, data: bytes) -> None:
    """`write_whole`, and on the disk before this returns."""
    write_whole(path, data)
    for name in (path, path.parent):
        sync(name)


def sync(path: Path) -> None:
    """Bring a file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
