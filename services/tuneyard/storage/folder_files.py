"""What the folder store asks of a file system: durable renames and links, byte-range locks, typed errors.

It knows files and folders, but neither keys nor objects.
"""

import ctypes
import errno
import fcntl
import os
import secrets
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tuneyard.storage.errors import StorageError, StoreFull, StoreUnavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SYNC_FILE_RANGE_WRITE = 2
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)
if _sync_file_range is not None:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn the OSErrors of the store's own files into StorageErrors that name no path."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise translate(error) from error


def translate(error: OSError) -> StorageError:
    if error.errno in _FULL:
        return StoreFull("no space is left in the folder store")
    name = errno.errorcode.get(error.errno or 0, "unknown error")
    return StoreUnavailable(f"the folder store failed: {name}")


def boot_id() -> str:
    """A name for the time since the machine started: what was written within it is there, on the disk or
    not.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        # Where nobody says, no two processes agree.
        return secrets.token_hex(16)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a file's own fsync does not cover its name."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
    sync_folder(folder.parent)


def create_once(path: Path, content: bytes, *, mode: int, staging: Path) -> bytes:
    """Return what the file holds, created with this content if absent; two creators agree on one."""
    temporary = staging / secrets.token_hex(16)
    try:
        if not path.exists():
            write_durably(temporary, content, mode=mode)
            with suppress(FileExistsError):
                os.link(temporary, path)
            sync_folder(path.parent)
        return path.read_bytes()
    finally:
        temporary.unlink(missing_ok=True)


def begin_writeback(descriptor: int, *, offset: int, length: int) -> None:
    """Have the system write bytes to the disk now, without waiting: the fsync to come finds little to do.

    Only Linux can; elsewhere, and where it fails, the fsync does it all.
    """
    if _sync_file_range is not None and length:
        _sync_file_range(descriptor, offset, length, _SYNC_FILE_RANGE_WRITE)


def write_durably(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a new file; its name is not durable yet."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


@contextmanager
def locked(descriptor: int, *, offset: int = 0, length: int = 0) -> Iterator[None]:
    """Hold bytes of a file alone, against threads and processes alike; a length of 0 reaches to any end.

    These are open-file-description locks: plain POSIX ones would let two threads of a process in together.
    """
    _lock(descriptor, fcntl.F_WRLCK, offset, length)
    try:
        yield
    finally:
        _lock(descriptor, fcntl.F_UNLCK, offset, length)


def _lock(descriptor: int, kind: int, offset: int, length: int) -> None:
    # struct flock with the native alignment; the last field, a process id, must be 0 for this kind of lock.
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLKW, struct.pack("hhqqi4x", kind, os.SEEK_SET, offset, length, 0))
