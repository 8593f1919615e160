"""Single files of stored datasets, read where they lie: for people who look at what a finding is about.

Nothing is decoded here, and nothing is copied: of a ZIP its directory and the file asked for are read.
"""

import io
import threading
import zipfile
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tuneyard.datasets.archive_directory import ArchiveError, ArchiveLimits, read_directory
from tuneyard.datasets.jsonl_source import UNNAMED
from tuneyard.gateway import paging
from tuneyard.gateway.byte_streams import gathered, in_thread
from tuneyard.gateway.datasets import DatasetRecord, DatasetRepository
from tuneyard.gateway.store_calls import in_store
from tuneyard.rpc.errors import TuneyardError, invalid
from tuneyard.storage import ObjectNotFound, ObjectStore
from tuneyard.v1 import dataset_pb2
from tuneyard.v1 import dataset_service_pb2 as pb

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_FILE_BYTES: Final = 256 << 20
MAX_SCANNED_BYTES: Final = 512 << 20
"""How far into a file lines are looked for."""
MAX_LINE_BYTES: Final = 16 << 10
_DEFAULT_PAGE, _DEFAULT_LINES = 100, 20
_CHUNK: Final = 1 << 20
_BLOCK: Final = 256 << 10
# A directory costs about a kilobyte a file: this many of this size may be held.
_LIMITS: Final = ArchiveLimits(max_members=200_000)
_HELD: Final = 3
_HAVE_BYTES: Final = (
    dataset_pb2.DATASET_STATE_VALIDATING,
    dataset_pb2.DATASET_STATE_READY,
    dataset_pb2.DATASET_STATE_INVALID,
)


class DatasetFiles:
    """Lists and hands out the files of datasets."""

    def __init__(self, *, repository: DatasetRepository, store: ObjectStore) -> None:
        self._repository = repository
        self._store = store
        self._held: OrderedDict[str, _Zip] = OrderedDict()
        self._lock = threading.Lock()

    async def list(self, request: pb.ListDatasetFilesRequest) -> pb.ListDatasetFilesResponse:
        """A page of files by path. DATASET_NOT_FOUND, DATASET_NOT_READY, INVALID_PAGE_TOKEN."""
        record = await self._record(request.parent)
        names, sizes = await in_store(self._names, record)
        begin = [name for name in names if name.startswith(request.prefix)]
        digest = paging.filter_digest("dataset-files", record.key, request.prefix)
        place = paging.decode_token(request.page_token, digest)
        start = bisect_right(begin, place.id) if place else 0
        page = begin[start : start + (request.page_size or _DEFAULT_PAGE)]
        is_last = start + len(page) >= len(begin)
        return pb.ListDatasetFilesResponse(
            files=[pb.DatasetFile(path=name, size_bytes=sizes.get(name, 0)) for name in page],
            next_page_token="" if is_last else paging.encode_token(paging.Place(0, page[-1]), digest),
            total_size=len(begin),
        )

    async def download(self, name: str, path: str) -> AsyncIterator[pb.DownloadDatasetFileResponse]:
        """A file's bytes. As `list`, and INVALID_FIELD where there is no such file or it is too large."""
        record = await self._record(name)
        chunks = await in_store(self._chunks, record, path, MAX_FILE_BYTES)
        async for chunk in in_thread(gathered(_refused_where_damaged(chunks))):
            yield pb.DownloadDatasetFileResponse(chunk=chunk)

    async def lines(self, request: pb.ReadDatasetLinesRequest) -> pb.ReadDatasetLinesResponse:
        """Lines of a text file; errors as with `download`."""
        record = await self._record(request.name)
        found = await in_store(self._lines, record, request)
        return pb.ReadDatasetLinesResponse(lines=found)

    async def _record(self, name: str) -> DatasetRecord:
        record = await self._repository.record(name)
        if record.dataset.state not in _HAVE_BYTES or record.source:
            raise TuneyardError("DATASET_NOT_READY", f"the bytes of {name} are not all here", resource=name)
        return record

    def _names(self, record: DatasetRecord) -> tuple[Sequence[str], dict[str, int]]:
        archive = self._zip(record)
        if archive is None:
            return (record.dataset.file_name or UNNAMED,), {}
        return tuple(archive.infos), {name: info.file_size for name, info in archive.infos.items()}

    def _lines(self, record: DatasetRecord, request: pb.ReadDatasetLinesRequest) -> Sequence[pb.DatasetLine]:
        first, most = request.first_line or 1, request.max_lines or _DEFAULT_LINES
        chunks = _refused_where_damaged(self._chunks(record, request.path, None))
        try:
            return [
                pb.DatasetLine(
                    line=number, text=text[:MAX_LINE_BYTES].decode(errors="replace"), is_cut=is_cut
                )
                for number, text, is_cut in _picked(chunks, first, first + most)
            ]
        finally:
            chunks.close()

    def _chunks(self, record: DatasetRecord, path: str, most: int | None) -> Iterator[bytes]:
        archive = self._zip(record)
        if archive is None:
            only = record.dataset.file_name or UNNAMED
            if path not in ("", only):
                raise invalid("path", f"{record.dataset.name} is one file, {only}")
            return _plain(self._store, record.key, most)
        if not path and len(archive.infos) == 1:
            path = next(iter(archive.infos))
        info = archive.infos.get(path)
        if info is None:
            raise invalid("path", f"{record.dataset.name} has no file {path!r}")
        if most is not None and info.file_size > most:
            raise invalid("path", f"{path!r} has more than {most >> 20} MiB")
        return _inflated(archive.file, info)

    def _zip(self, record: DatasetRecord) -> "_Zip | None":
        """The dataset's archive, or None where it is a single file."""
        with self._lock:
            if held := self._held.get(record.key):
                self._held.move_to_end(record.key)
                return held
        opened = self._open(record)
        if opened is not None:
            with self._lock:
                self._held[record.key] = opened
                while len(self._held) > _HELD:
                    # Whoever reads it still goes on: there is nothing to close but memory.
                    self._held.popitem(last=False)
        return opened

    def _open(self, record: DatasetRecord) -> "_Zip | None":
        try:
            size = self._store.stat(record.key).size_bytes
            with self._store.read(record.key, length=4) as reader:
                magic = next(reader, b"")
            if record.dataset.format == dataset_pb2.DATASET_FORMAT_JSONL and not magic.startswith(b"PK"):
                return None
            file = zipfile.ZipFile(io.BufferedReader(_Stored(self._store, record.key, size), _BLOCK))
            infos, _, _ = read_directory(file, _LIMITS, size)
        except ObjectNotFound:
            raise TuneyardError(
                "DATASET_UNREADABLE", f"the bytes of {record.dataset.name} are gone"
            ) from None
        except ArchiveError as error:
            raise TuneyardError("NOT_SUPPORTED", f"its files cannot be shown: {error.message}") from None
        except (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError, ValueError):
            raise TuneyardError("NOT_SUPPORTED", "its files cannot be shown: it is no sound ZIP") from None
        return _Zip(file, infos)


@dataclass(frozen=True)
class _Zip:
    file: zipfile.ZipFile
    infos: dict[str, zipfile.ZipInfo]
    """By path, in order."""


class _Stored(io.RawIOBase):
    """An object of the store as a file to seek in."""

    def __init__(self, store: ObjectStore, key: str, size: int) -> None:
        self._store, self._key, self._size, self._at = store, key, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("before the beginning")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._size - self._at)
        if wanted <= 0:
            return 0
        with self._store.read(self._key, offset=self._at, length=wanted) as reader:
            content = next(reader, b"")
        view[: len(content)] = content
        self._at += len(content)
        return len(content)


def _inflated(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    # zipfile never yields more than the directory claims.
    with file.open(info) as member:
        while chunk := member.read(_CHUNK):
            yield chunk


def _plain(store: ObjectStore, key: str, most: int | None) -> Iterator[bytes]:
    """A single file, inflated where it is gzipped; no more than `most` bytes of it."""
    inflate, left = None, most
    with store.read(key) as reader:
        for position, stored in enumerate(reader):
            if position == 0 and stored.startswith(b"\x1f\x8b"):
                inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
            rest = stored
            while rest:
                chunk = inflate.decompress(rest, _CHUNK) if inflate else rest
                rest = inflate.unconsumed_tail if inflate else b""
                yield chunk if left is None else chunk[:left]
                left = None if left is None else max(0, left - len(chunk))
                if left == 0:
                    return


def _refused_where_damaged(chunks: Iterator[bytes]) -> Generator[bytes, None, None]:
    try:
        yield from chunks
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise TuneyardError("DATASET_UNREADABLE", f"the file is damaged: {error}") from None


def _picked(chunks: Iterator[bytes], first: int, end: int) -> Iterator[tuple[int, bytes, bool]]:
    """The lines from `first` up to before `end`, with their numbers and whether they are cut."""
    number, held, length, scanned = 1, b"", 0, 0
    for chunk in chunks:
        scanned += len(chunk)
        pieces = chunk.split(b"\n")
        for piece in pieces[:-1]:
            if number >= first:
                text = held + piece[: MAX_LINE_BYTES + 1]
                yield number, text.removesuffix(b"\r"), length + len(piece) > MAX_LINE_BYTES
            number, held, length = number + 1, b"", 0
            if number >= end:
                return
        length += len(pieces[-1])
        if number >= first and len(held) <= MAX_LINE_BYTES:
            held += pieces[-1][: MAX_LINE_BYTES + 1]
        if scanned > MAX_SCANNED_BYTES:
            return
    if held:
        yield number, held, length > MAX_LINE_BYTES
