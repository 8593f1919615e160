"""A JSONL dataset that is one file, plain or gzipped, in the shape in which folders and ZIP files are read.

What stands in the file is of no interest here; ZIP files and folders have sources of their own.
"""

import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from tuneyard.datasets.archive import CHUNK_BYTES, ArchiveSummary
from tuneyard.datasets.archive_directory import DEFAULT_LIMITS, ArchiveError, ArchiveLimits
from tuneyard.datasets.codes import Code
from tuneyard.datasets.names import ARCHIVE_EXTENSIONS, extension, is_junk
from tuneyard.datasets.progress import Cancelled

DATA_EXTENSIONS = (".jsonl", ".json", ".ndjson")
UNNAMED = "data.jsonl"
"""What a file is called whose own name is not known or cannot be used."""
_MAX_NAME_BYTES = 200
"""File systems take 255 bytes, and some encrypted ones fewer."""

_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_OTHER_ARCHIVES = {
    b"Rar!\x1a\x07": "RAR",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"BZh": "bzip2",
}
_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class SingleFile:
    """One file as a dataset; a gzipped one is inflated on the way and named without its `.gz`."""

    folders: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    ignored = 0

    def __init__(self, path: Path, *, name: str = "", limits: ArchiveLimits = DEFAULT_LIMITS) -> None:
        """`name` is the one that the file was uploaded by; default: the path's own.

        Raises `ArchiveError` for what is compressed in another way, damaged, or inflates to too much.
        """
        self._path = path
        self._limits = limits
        with path.open("rb") as file:
            start = file.read(16)
        self._gzipped = start.startswith(_GZIP)
        self.name = single_file_name(name or path.name) or UNNAMED
        for magic, what in _OTHER_ARCHIVES.items():
            if start.startswith(magic):
                raise ArchiveError(
                    Code.ARCHIVE_COMPRESSION_UNSUPPORTED, f"The file is compressed with {what}."
                )
        # A gzipped file does not tell its size, and whether it is whole shows only at its end.
        self._size = sum(map(len, self._inflated())) if self._gzipped else path.stat().st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def size(self, name: str) -> int:
        return self._size

    def read(self, name: str) -> bytes:
        return b"".join(self.chunks(name))

    def chunks(self, name: str) -> Iterator[bytes]:
        return self._inflated() if self._gzipped else self._stored()

    def _stored(self) -> Iterator[bytes]:
        with self._path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def _inflated(self) -> Iterator[bytes]:
        total = 0
        for chunk in _gunzip(self._stored()):
            if not total and chunk[_TAR_MAGIC_AT:].startswith(_TAR_MAGIC):
                raise ArchiveError(Code.ARCHIVE_NESTED, "The gzipped file is a tar archive.")
            total += len(chunk)
            self._refuse_bomb(total)
            yield chunk

    def _refuse_bomb(self, total: int) -> None:
        limits, compressed = self._limits, self._path.stat().st_size
        if total > limits.max_member_bytes:
            seen = f"The file inflates to more than {limits.max_member_bytes} bytes, which is the limit."
            raise ArchiveError(Code.ARCHIVE_TOO_LARGE, seen)
        if total > limits.ratio_floor_bytes and total > limits.max_ratio * compressed:
            seen = f"The file inflates from {compressed} to more than {limits.max_ratio} times as many bytes."
            raise ArchiveError(Code.ARCHIVE_BOMB, seen)


def is_single_file(path: Path) -> bool:
    """Whether a path is a file that is read as it is, neither a folder nor a ZIP file."""
    if path.is_dir():
        return False
    with path.open("rb") as file:
        return not file.read(4).startswith(_ZIP)


def single_file_name(name: str) -> str:
    """What findings call a single file of this name, or an empty string where they cannot call it so.

    A path is its last part, and an ending that does not tell that it holds examples gets one that does.
    """
    last = name.replace("\\", "/").rpartition("/")[2].strip()
    if last.lower().endswith(".gz"):
        last = last[:-3]
    if not last.isprintable() or is_junk(last) or extension(last) in ARCHIVE_EXTENSIONS:
        return ""
    if last.strip(".") and extension(last) not in DATA_EXTENSIONS:
        last = f"{last}.jsonl"
    # Half of a surrogate pair, which stands for a byte that is not UTF-8, is not printable either.
    return last if extension(last) in DATA_EXTENSIONS and len(last.encode()) <= _MAX_NAME_BYTES else ""


def unpack_single_file(
    path: Path,
    destination: Path,
    *,
    name: str = "",
    limits: ArchiveLimits = DEFAULT_LIMITS,
    should_stop: Callable[[], bool] = lambda: False,
) -> ArchiveSummary:
    """Writes the file, inflated, below `destination`, which must not exist: `unpack` for single files."""
    if destination.exists():
        raise FileExistsError(f"{destination} exists already")
    source = SingleFile(path, name=name, limits=limits)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{destination.name}.", suffix=".partial", dir=destination.parent, ignore_cleanup_errors=True
    ) as work:
        content = Path(work) / "content"
        content.mkdir()
        with (content / source.name).open("xb") as file:
            for chunk in source.chunks(source.name):
                if should_stop():
                    raise Cancelled
                file.write(chunk)
        content.rename(destination)
    return ArchiveSummary(files=1, total_bytes=source.size(source.name), ignored=0)


def _gunzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The content of all members of a gzip file, in pieces of bounded size; raises `ArchiveError`."""
    inflater = None
    for chunk in chunks:
        data = chunk
        while data:
            if inflater is None:
                # Padding with zeros after the last member is common and harmless.
                data = data.lstrip(b"\0")
                inflater = zlib.decompressobj(_GZIP_WINDOW) if data else None
                continue
            try:
                piece = inflater.decompress(data, CHUNK_BYTES)
            except zlib.error as error:
                raise ArchiveError(Code.ARCHIVE_CORRUPT, f"The gzipped file is damaged: {error}.") from error
            if piece:
                yield piece
            data = inflater.unused_data or inflater.unconsumed_tail
            if inflater.eof:
                inflater = None
    if inflater is not None:
        raise ArchiveError(Code.ARCHIVE_CORRUPT, "The gzipped file ends in the middle.")
