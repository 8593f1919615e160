"""A trainer's cache of folders: content-addressed, built once, shared by runs, removed by least use.

An entry's lock file is held shared by every process that uses it and exclusively by the one that builds or
removes it, so that a killed process leaves nothing that must be cleaned up by hand.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tuneyard.trainer.process import boot_id
from tuneyard.trainer.transfers import disk_full_is_told

_DIGEST = re.compile(r"[0-9a-f]{64}")
_KIND = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True)
class _Entry:
    """The places of one entry: `root` is the cache's folder."""

    root: Path
    kind: str
    digest: str

    @property
    def folder(self) -> Path:
        return self.root / self.kind / self.digest

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def partial(self) -> Path:
        return self.folder / "partial"

    @property
    def marker(self) -> Path:
        """Its presence makes the entry complete, its time of change says when it was last used."""
        return self.folder / "complete.json"

    @property
    def durable(self) -> Path:
        """Its presence says that the disk has all of the entry."""
        return self.folder / "durable"

    @property
    def lock(self) -> Path:
        # Outside of the entry's folder, so that removing the entry does not split its lockers over two files.
        return self.root / "locks" / f"{self.kind}-{self.digest}"


def sync_path(path: Path) -> None:
    """Brings one file or folder to the disk; one that is gone needs it no more."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Cache:
    """The cache in a folder, as one process uses it. Thread-safe.

    What `entry` returned stays until `close` or the end of the process.
    """

    def __init__(
        self,
        root: Path,
        *,
        limit_bytes: int = 0,
        check: Callable[[], None] = lambda: None,
        wait: Callable[[], None] = lambda: time.sleep(0.05),
        boot: Callable[[], str] = boot_id,
        sync: Callable[[Path], None] = sync_path,
    ) -> None:
        """`limit_bytes` is the size above which unused entries are removed, 0 for none.

        `check` is called while another process builds, and ends the wait by raising.
        """
        self._root = root
        self._limit_bytes = limit_bytes
        self._check = check
        self._wait = wait
        self._boot = boot()
        self._sync = sync
        self._held: dict[_Entry, int] = {}
        self._mutex = threading.RLock()
        (root / "locks").mkdir(parents=True, exist_ok=True)

    def entry(self, kind: str, key: str, build: Callable[[Path], None], *, expected_bytes: int = 0) -> Path:
        """The folder that `kind` and `key` name, made by `build(empty folder)` where it is absent.

        A key that is a SHA-256 names the folder as it is, another by its hash. Raises RecipeError
        STORAGE_FULL, and whatever `build` or `check` raises; nothing half-written is left then.
        """
        if not _KIND.fullmatch(kind):
            raise ValueError(f"not a kind of cache entries: {kind!r}")
        digest = key if _DIGEST.fullmatch(key) else hashlib.sha256(key.encode()).hexdigest()
        entry = _Entry(self._root, kind, digest)
        with self._mutex:
            if entry not in self._held:
                self._held[entry] = self._acquire(entry, build, expected_bytes)
                if not entry.durable.exists():
                    threading.Thread(
                        target=self._make_durable, args=(entry,), name="cache-sync", daemon=True
                    ).start()
            return entry.data

    def close(self) -> None:
        """Lets go of everything; the entries may be removed from now on."""
        with self._mutex:
            for descriptor in self._held.values():
                os.close(descriptor)
            self._held.clear()

    def _acquire(self, entry: _Entry, build: Callable[[Path], None], expected_bytes: int) -> int:
        """A descriptor that holds the shared lock of the complete entry."""
        descriptor = os.open(entry.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                self._lock(descriptor, fcntl.LOCK_SH)
                if self._is_complete(entry):
                    os.utime(entry.marker)
                    return descriptor
                # Changing the kind of a flock is not atomic: whoever came in between may have built it,
                # and shares its lock for as long as it reads.
                if self._lock(descriptor, fcntl.LOCK_EX, unless=lambda: self._is_complete(entry)):
                    self._build(entry, build, expected_bytes)
        except BaseException:
            os.close(descriptor)
            raise

    def _lock(self, descriptor: int, kind: int, *, unless: Callable[[], bool] = lambda: False) -> bool:
        """Waits for the lock; False, whether locked or not, where `unless` holds meanwhile."""
        while not _try_lock(descriptor, kind):
            if unless():
                return False
            self._check()
            self._wait()
        return not unless()

    def _is_complete(self, entry: _Entry) -> bool:
        """Whether the entry is whole: built since the machine started, or known to be on the disk."""
        try:
            marker = json.loads(entry.marker.read_text())
        except (OSError, ValueError):
            return False
        is_whole = marker.get("boot") == self._boot or entry.durable.exists()
        return is_whole and entry.data.is_dir()

    def _build(self, entry: _Entry, build: Callable[[Path], None], expected_bytes: int) -> None:
        self._make_room(expected_bytes, keep=entry)
        shutil.rmtree(entry.folder, ignore_errors=True)
        try:
            with disk_full_is_told():
                entry.partial.mkdir(parents=True)
                build(entry.partial)
                size_bytes = _size(entry.partial)
                entry.partial.rename(entry.data)
                self._mark(entry, size_bytes)
        except BaseException:
            shutil.rmtree(entry.folder, ignore_errors=True)
            raise
        self._make_room(0, keep=entry)

    def _make_durable(self, entry: _Entry) -> None:
        """Until the disk has it all, an entry is good for this run of the machine only.

        File by file: a worker that is killed during a sync of the whole machine would not be gone before
        its end.
        """
        # Where it fails, the entry is built again after the machine's next start; nothing else depends on it.
        with suppress(OSError):
            for path in (entry.marker, *entry.data.rglob("*"), entry.data, entry.folder):
                # Only while our lock keeps others from removing the entry.
                if entry not in self._held:
                    return
                self._sync(path)
            with self._mutex:
                if entry in self._held:
                    entry.durable.touch()

    def _mark(self, entry: _Entry, size_bytes: int) -> None:
        temporary = entry.marker.with_suffix(".new")
        temporary.write_text(json.dumps({"size_bytes": size_bytes, "boot": self._boot}))
        temporary.rename(entry.marker)

    def _make_room(self, needed_bytes: int, *, keep: _Entry) -> None:
        """Removes unused entries, the longest unused first, until the limit leaves `needed_bytes`."""
        if not self._limit_bytes:
            return
        found = sorted(self._entries(), key=lambda item: item[2])
        total = sum(size_bytes for _, size_bytes, _ in found) + needed_bytes
        for entry, size_bytes, _ in found:
            if total <= self._limit_bytes:
                return
            if entry != keep and entry not in self._held and self._remove(entry):
                total -= size_bytes

    def _entries(self) -> Iterator[tuple[_Entry, int, float]]:
        """Every entry with its size and the time of its last use; an incomplete one counts as used long
        ago.
        """
        for folder in self._root.glob("*/*"):
            if _DIGEST.fullmatch(folder.name) is None:
                continue
            entry = _Entry(self._root, folder.parent.name, folder.name)
            try:
                used = entry.marker.stat().st_mtime
                size_bytes = int(json.loads(entry.marker.read_text())["size_bytes"])
            except (OSError, ValueError, KeyError, TypeError):
                used, size_bytes = 0.0, _size(folder)
            yield entry, size_bytes, used

    def _remove(self, entry: _Entry) -> bool:
        """Removes an entry unless another process uses or builds it."""
        descriptor = os.open(entry.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _try_lock(descriptor, fcntl.LOCK_EX):
                return False
            entry.marker.unlink(missing_ok=True)
            shutil.rmtree(entry.folder, ignore_errors=True)
            return True
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _size(folder: Path) -> int:
    size_bytes = 0
    for path in folder.rglob("*"):
        # A builder may be at work in an entry that is only looked at.
        with suppress(FileNotFoundError):
            size_bytes += path.lstat().st_size if not path.is_dir() else 0
    return size_bytes
