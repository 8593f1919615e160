"""How the folder store keeps objects: immutable blobs, and symbolic links from keys to them.

An object's bytes are a file `blobs/ab/<sha256>-<id>` that never changes, and its key is a relative link
`objects/<key>` to it. The link is the record: one rename (or one `symlink`, which refuses a name that is
taken) changes bytes and SHA-256 together, so that a crash leaves the old object or the new one; and
people can still browse and copy `objects/`. A regular file that somebody else lays there is served too,
with no SHA-256.
"""

import errno
import hashlib
import os
import re
import secrets
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tuneyard.storage.errors import InvalidKey, ObjectExists, ObjectNotFound
from tuneyard.storage.folder_files import make_folder, storage_errors, sync_folder
from tuneyard.storage.store import ObjectData, ObjectInfo
from tuneyard.storage.transfer import iterate, write_all

_BLOB = re.compile(r"(?P<sha256>[0-9a-f]{64})-[0-9a-f]{32}")
# A reader that finds a link's blob gone was overtaken by a writer; so often in a row it was not.
_OVERTAKEN = 10
# A folder of other keys, a key that goes on below an object, a link or device that is not ours.
_NO_OBJECT = frozenset({errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO})


@dataclass(frozen=True)
class StagedFile:
    """Bytes on their way to becoming an object, durable but under no key."""

    path: Path
    size_bytes: int
    sha256: str


class FolderObjects:
    """Objects below one root. Keys and prefixes are valid; errors of the file system are OSErrors."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._links = root / "objects"
        self._blobs = root / "blobs"
        self.incoming = root / "incoming"
        # Two writers of one key would each miss the other's blob when they clear away the one they replaced.
        self._locks = [threading.Lock() for _ in range(64)]

    def prepare(self) -> None:
        for folder in (self._links, self._blobs, self.incoming):
            make_folder(folder)

    def stage(self, data: ObjectData) -> StagedFile:
        """Write a stream to a file of ours. Errors raised by the stream itself pass through untranslated."""
        path = self.incoming / secrets.token_hex(16)
        digest, size_bytes = hashlib.sha256(), 0
        with storage_errors():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            for block in iterate(data):
                with storage_errors():
                    write_all(descriptor, block)
                digest.update(block)
                size_bytes += len(block)
            with storage_errors():
                os.fsync(descriptor)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        return StagedFile(path, size_bytes, digest.hexdigest())

    def commit(self, key: str, staged: StagedFile, *, if_absent: bool = False) -> ObjectInfo:
        """Put a staged file under its key. The staged name stays, for the caller to remove."""
        link = self._links / key
        name = f"{staged.sha256}-{secrets.token_hex(16)}"
        blob = self._blob(name)
        target = os.path.join(*[".."] * (key.count("/") + 1), blob.relative_to(self._root))
        make_folder(blob.parent)
        os.link(staged.path, blob)
        try:
            os.utime(blob)
            status = blob.stat()
            sync_folder(blob.parent)
            with self._lock(key):
                replaced = self._link(key, link, target, if_absent=if_absent)
        except BaseException:
            blob.unlink(missing_ok=True)
            raise
        if replaced is not None:
            replaced.unlink(missing_ok=True)
        return ObjectInfo(key, staged.size_bytes, staged.sha256, _time(status))

    def open(self, key: str) -> tuple[int, ObjectInfo]:
        """A descriptor of the object's bytes, and the object that it belongs to."""
        link = self._links / key
        for _ in range(_OVERTAKEN):
            try:
                blob = self._follow(link)
                descriptor = os.open(blob or link, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except FileNotFoundError:
                if not os.path.lexists(link):
                    break
                continue
            except OSError as error:
                if error.errno not in _NO_OBJECT:
                    raise
                break
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                os.close(descriptor)
                break
            return descriptor, ObjectInfo(key, status.st_size, _sha256(blob), _time(status))
        raise ObjectNotFound(key)

    def info(self, key: str) -> ObjectInfo:
        descriptor, info = self.open(key)
        os.close(descriptor)
        return info

    def walk(self, prefix: str) -> Iterator[str]:
        """The keys that begin with a prefix, in the order of their bytes."""
        folder, _, beginning = prefix.rpartition("/")
        return self._walk(folder + "/" if folder else "", beginning)

    def remove(self, key: str) -> bool:
        """Delete an object; False if there was none."""
        link = self._links / key
        with self._lock(key):
            try:
                blob = self._follow(link)
                link.unlink()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return False
            # The link first: after a crash a blob without a link is swept, a link without a blob would stay.
            _sync(link.parent)
        if blob is not None:
            blob.unlink(missing_ok=True)
        self._prune(link.parent)
        return True

    def sweep(self, *, before: datetime) -> int:
        """Delete what crashes left behind before a time: staged files, and blobs without a link."""
        linked: set[Path | None] = set()
        for key in self.walk(""):
            with suppress(FileNotFoundError):
                linked.add(self._follow(self._links / key))
        swept = 0
        for path in (*self.incoming.iterdir(), *self._blobs.glob("*/*")):
            with suppress(FileNotFoundError):
                # The status' time, not the content's: an upload's bytes may be old when they become a blob.
                if path not in linked and path.lstat().st_ctime < before.timestamp():
                    path.unlink()
                    swept += 1
        return swept

    def _link(self, key: str, link: Path, target: str, *, if_absent: bool) -> Path | None:
        """Point a key at a blob; return the blob it pointed at before."""
        for _ in range(_OVERTAKEN):
            try:
                make_folder(link.parent)
                replaced = None if if_absent else self._replace(link, target)
                if if_absent:
                    os.symlink(target, link)
            except FileNotFoundError:
                # Somebody deleted the last other object of this folder, and the folder with it.
                continue
            except (FileExistsError, IsADirectoryError, NotADirectoryError):
                if link.is_dir() or not link.parent.is_dir():
                    raise InvalidKey(f"the key {key!r} crosses another key's folder") from None
                raise ObjectExists(key) from None
            _sync(link.parent)
            return replaced
        raise FileNotFoundError(errno.ENOENT, "a folder vanishes as often as it is made")

    def _replace(self, link: Path, target: str) -> Path | None:
        temporary = self.incoming / secrets.token_hex(16)
        os.symlink(target, temporary)
        try:
            replaced = self._follow(link) if os.path.lexists(link) else None
            os.rename(temporary, link)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return replaced

    def _follow(self, link: Path) -> Path | None:
        """The blob that a link names; None for a regular file and for a link that is not ours."""
        try:
            name = os.path.basename(os.readlink(link))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return None
        return self._blob(name) if _BLOB.fullmatch(name) else None

    def _walk(self, folder: str, beginning: str) -> Iterator[str]:
        try:
            with os.scandir(self._links / folder) as entries:
                # As part of a key a folder's name ends with "/", which sorts after "-" and before "a".
                names = [
                    entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name
                    for entry in entries
                    if entry.name.startswith(beginning)
                ]
        except (FileNotFoundError, NotADirectoryError):
            return
        for name in sorted(names, key=os.fsencode):
            if name.endswith("/"):
                yield from self._walk(folder + name, "")
            else:
                yield folder + name

    def _prune(self, folder: Path) -> None:
        """Remove folders that hold nothing any more, up to the root of the keys."""
        while folder != self._links:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent

    def _blob(self, name: str) -> Path:
        return self._blobs / name[:2] / name

    def _lock(self, key: str) -> threading.Lock:
        return self._locks[hash(key) % len(self._locks)]


def _sync(folder: Path) -> None:
    # Whoever deleted the last object of the folder has removed it since.
    with suppress(FileNotFoundError):
        sync_folder(folder)


def _sha256(blob: Path | None) -> str:
    found = _BLOB.fullmatch(blob.name) if blob else None
    return found["sha256"] if found else ""


def _time(status: os.stat_result) -> datetime:
    return datetime.fromtimestamp(status.st_mtime, UTC)
