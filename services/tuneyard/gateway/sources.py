"""Brings what an import names, a path below an allowed root or an s3:// URI, into the object store.

Whether a source is allowed is judged when it is named and again when it is read.
"""

import io
import itertools
import os
import stat
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from tuneyard.datasets import ArchiveError, FolderSource
from tuneyard.rpc.errors import TuneyardError
from tuneyard.storage import ObjectInfo, ObjectNotFound, ObjectStore

_EARLIEST_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)


class ImportSources:
    """Resolves and copies the sources of imports. Its methods block: call them in a thread."""

    def __init__(self, store: ObjectStore, *, store_url: str, roots: Sequence[Path]) -> None:
        """`roots` are the folders below which paths are allowed; `store_url` is that of `store`."""
        self._store = store
        self._uri_prefix = f"{store_url.rstrip('/')}/" if store_url.startswith("s3://") else None
        self._roots = [Path(os.path.realpath(root)) for root in roots]

    def check(self, source: str) -> None:
        """SOURCE_NOT_ALLOWED unless the source may be read and is there."""
        if source.startswith("s3://"):
            self._stat(source)
        else:
            self.local_path(source)

    def local_path(self, source: str) -> Path:
        """The real path of a source on this machine; SOURCE_NOT_ALLOWED."""
        # One answer for what is absent and what is forbidden, so that nobody can probe for paths.
        refused = TuneyardError(
            "SOURCE_NOT_ALLOWED",
            "the source is not there, or not below a folder that imports are allowed from "
            "(TUNEYARD_IMPORT_ROOTS)",
        )
        if not os.path.isabs(source) or "\0" in source:
            raise refused
        real = Path(os.path.realpath(source))
        if not any(real == root or root in real.parents for root in self._roots):
            raise refused
        try:
            mode = real.stat().st_mode
        except OSError:
            raise refused from None
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise refused
        return real

    def copy(self, source: str, key: str) -> ObjectInfo:
        """Store the source's bytes under the key; a folder becomes a ZIP. SOURCE_NOT_ALLOWED."""
        if source.startswith("s3://"):
            with self._store.read(self._stat(source).key) as reader:
                return self._store.put(key, reader)
        path = self.local_path(source)
        try:
            return self._store.put(key, zipped_folder(path)) if path.is_dir() else self._put_file(key, path)
        except (ArchiveError, OSError) as error:
            raise TuneyardError("SOURCE_NOT_ALLOWED", "the source cannot be read") from error

    def _put_file(self, key: str, path: Path) -> ObjectInfo:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0) as file:
            return self._store.put(key, file)

    def _stat(self, source: str) -> ObjectInfo:
        refused = TuneyardError(
            "SOURCE_NOT_ALLOWED", "an s3:// source is an object below this server's own store"
        )
        if self._uri_prefix is None or not source.startswith(self._uri_prefix):
            raise refused
        try:
            return self._store.stat(source.removeprefix(self._uri_prefix))
        except ObjectNotFound:
            raise refused from None


def zipped_folder(path: Path) -> Iterator[bytes]:
    """The files of a folder as the bytes of a ZIP, in flat memory. Links are not followed."""
    with FolderSource(path) as source:
        folders = ((f"{name.rstrip('/')}/", 0, iter(())) for name in source.folders)
        files = ((name, source.size(name), source.chunks(name)) for name in source.names())
        yield from zipped(itertools.chain(folders, files))


def zipped(files: Iterator[tuple[str, int, Iterator[bytes]]]) -> Iterator[bytes]:
    """Files, given as name, size and chunks, as the bytes of a ZIP: not deflated, ZIP64 where needed.

    A name that ends with "/" is a folder.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, size, chunks in files:
            entry = zipfile.ZipInfo(name, _EARLIEST_ZIP_TIME)
            entry.external_attr = (0o40755 << 16) | 0x10 if name.endswith("/") else 0o100644 << 16
            entry.file_size = size
            with archive.open(entry, "w", force_zip64=size >= zipfile.ZIP64_LIMIT) as member:
                for chunk in chunks:
                    member.write(chunk)
                    yield from sink.drain()
            yield from sink.drain()
    yield from sink.drain()


class _Sink(io.RawIOBase):
    """A write-only stream that cannot be sought: what was written is taken out again at once."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        return len(piece)

    def drain(self) -> Iterator[bytes]:
        pieces, self._pieces = self._pieces, []
        yield from pieces
