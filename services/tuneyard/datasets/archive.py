"""ZIP files from strangers: everything that can be wrong with one is refused before or while it is inflated.

The only place that turns members of an archive into names and bytes; what they mean is decided elsewhere.
"""

import contextlib
import errno
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tuneyard.datasets.archive_directory import (
    DEFAULT_LIMITS,
    ArchiveError,
    ArchiveLimits,
    read_directory,
)
from tuneyard.datasets.archive_members import Members
from tuneyard.datasets.codes import Code
from tuneyard.datasets.progress import Cancelled, Progress, ProgressCallback

CHUNK_BYTES = 1 << 20


_ARCHIVE_MAGIC = (
    b"PK\x03\x04",
    b"Rar!\x1a\x07",
    b"7z\xbc\xaf\x27\x1c",
    b"\xfd7zXZ\x00",
    b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd",
)
_READ_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class ArchiveSummary:
    """What a checked archive holds, without junk and below its top folder."""

    files: int
    total_bytes: int
    ignored: int


class Archive:
    """An open ZIP file whose directory was found acceptable; its files are read under the limits.

    Names are those of the dataset: junk is left out and a single top folder is taken off. Several threads may
    read.
    """

    links: tuple[str, ...] = ()
    """Always empty: an archive with links is refused."""

    def __init__(self, path: Path, *, limits: ArchiveLimits = DEFAULT_LIMITS) -> None:
        self.path = path
        self._packed = limits.packed_formats
        self._zip = _open_zip(path, limits)
        # Files are opened by what is known of them, never by name.
        self._zip.NameToInfo = {}
        try:
            infos, self.folders, self.ignored = read_directory(self._zip, limits, path.stat().st_size)
        except BaseException:
            self._zip.close()
            raise
        self._members = Members(infos)
        # What zipfile keeps of each file takes ten times as much as is needed to find it again.
        self._zip.filelist = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._zip.close()

    def names(self) -> Sequence[str]:
        """The files in the order of their names."""
        return self._members.names

    def size(self, name: str) -> int:
        """The inflated size in bytes that the directory claims; reading never yields more."""
        return self._members.size(name)

    def chunks(self, name: str) -> Iterator[bytes]:
        """All bytes of a file, piece by piece; verifies the checksum and refuses another archive inside."""
        read_bytes = 0
        may_be_archive = name.lower().endswith(self._packed)
        for chunk in self._inflate(name):
            if not read_bytes and chunk.startswith(_ARCHIVE_MAGIC) and not may_be_archive:
                raise ArchiveError(Code.ARCHIVE_NESTED, f"{name!r} is itself an archive.", member=name)
            read_bytes += len(chunk)
            yield chunk
        # zipfile accepts a stream that ends early if its checksum matches; one that goes on is cut off there.
        if read_bytes != self.size(name):
            raise ArchiveError(
                Code.ARCHIVE_CORRUPT,
                f"{name!r} holds {read_bytes} bytes where the archive's directory says {self.size(name)}.",
                member=name,
            )

    def read(self, name: str) -> bytes:
        """All bytes of a file; ask for its size first."""
        return b"".join(self.chunks(name))

    def _inflate(self, name: str) -> Iterator[bytes]:
        with (
            _damage_as_archive_error(f"{name!r} in the archive is damaged", name),
            self._zip.open(self._members.info(name)) as file,
        ):
            while chunk := file.read(CHUNK_BYTES):
                yield chunk


def check_archive(
    path: Path,
    *,
    limits: ArchiveLimits = DEFAULT_LIMITS,
    progress: ProgressCallback | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> ArchiveSummary:
    """Reads the whole archive without writing anything; raises `ArchiveError` where `unpack` would."""
    with Archive(path, limits=limits) as archive:
        total_bytes = 0
        for name in _each(archive, "reading archive", progress, should_stop):
            for chunk in archive.chunks(name):
                total_bytes += len(chunk)
        return ArchiveSummary(files=len(archive.names()), total_bytes=total_bytes, ignored=archive.ignored)


def unpack(
    path: Path,
    destination: Path,
    *,
    limits: ArchiveLimits = DEFAULT_LIMITS,
    skip: Collection[str] = frozenset(),
    progress: ProgressCallback | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> ArchiveSummary:
    """Writes the files below `destination`, which must not exist yet, all but the names in `skip`.

    The folder appears complete or not at all: work happens in a sibling that is removed on any error. Raises
    `ArchiveError`, `Cancelled` when `should_stop` says so, and OSError, such as for a full disk.
    """
    if destination.exists():
        raise FileExistsError(f"{destination} exists already")
    destination.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=".partial", dir=destination.parent))
    try:
        with Archive(path, limits=limits) as archive:
            total_bytes, files = 0, 0
            for folder in archive.folders:
                (work / folder).mkdir(parents=True, exist_ok=True)
            for name in _each(archive, "unpacking", progress, should_stop):
                if name not in skip:
                    total_bytes += _write(archive, name, work / name)
                    files += 1
            ignored = archive.ignored
        work.chmod(0o755)
        work.rename(destination)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return ArchiveSummary(files=files, total_bytes=total_bytes, ignored=ignored)


def _each(
    archive: Archive, stage: str, progress: ProgressCallback | None, should_stop: Callable[[], bool]
) -> Iterator[str]:
    names = archive.names()
    for done, name in enumerate(names):
        if should_stop():
            raise Cancelled
        if progress is not None:
            progress(Progress(stage=stage, done=done, total=len(names)))
        yield name
    if progress is not None:
        progress(Progress(stage=stage, done=len(names), total=len(names)))


def _write(archive: Archive, name: str, target: Path) -> int:
    written = 0
    # "x": a name that this file system folds into another one is refused rather than overwritten.
    with target.open("xb") as file:
        for chunk in archive.chunks(name):
            written += file.write(chunk)
    return written


def _open_zip(path: Path, limits: ArchiveLimits) -> zipfile.ZipFile:
    size = path.stat().st_size
    if size > limits.max_archive_bytes:
        raise ArchiveError(
            Code.ARCHIVE_TOO_LARGE, f"The archive has {size} bytes; the limit is {limits.max_archive_bytes}."
        )
    with _damage_as_archive_error("The file is not a ZIP archive or is damaged", None):
        try:
            return zipfile.ZipFile(path)
        except UnicodeDecodeError as error:
            raise ArchiveError(
                Code.ARCHIVE_NAME_UNDECODABLE, "A name in the archive is marked as UTF-8 and is not."
            ) from error


@contextlib.contextmanager
def _damage_as_archive_error(what: str, member: str | None) -> Iterator[None]:
    try:
        yield
    except _READ_ERRORS as error:
        raise ArchiveError(Code.ARCHIVE_CORRUPT, f"{what}: {error}", member=member) from error
    except OSError as error:
        # Offsets from a damaged directory point before the file; other errors are the disk's.
        if error.errno != errno.EINVAL:
            raise
        raise ArchiveError(Code.ARCHIVE_CORRUPT, f"{what}: an offset is wrong.", member=member) from error
