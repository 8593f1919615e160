"""The folder store's durable uploads: one sparse file for each, and a log of the parts that are whole.

    uploads/<id>/upload.json        key and part size; an upload without it was never opened
    uploads/<id>/data               part n lies at (n - 1) × part size
    uploads/<id>/parts              a line per event: a part was stored, or is about to be overwritten
    uploads/<id>/complete-<sha256>  what `data` is renamed to once its parts are final

A part is logged after its bytes are written, and struck out before it is overwritten: when processes are
killed, the log lists only whole parts. Waiting for the disk at each part would halve the speed, so a
machine that goes down may keep a line and lose its bytes. Each line therefore names the machine's boot
and the part's XXH3: lines of an earlier boot are believed only if it fits what is on the disk. (Against
accidents alone, and five times as fast as a CRC-32, which took a tenth of an upload's time.)
"""

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import xxhash

from tuneyard.storage.digests import UploadDigests
from tuneyard.storage.errors import ChecksumMismatch, UploadNotFound
from tuneyard.storage.folder_files import (
    begin_writeback,
    locked,
    make_folder,
    storage_errors,
    sync_folder,
    write_durably,
)
from tuneyard.storage.folder_objects import FolderObjects, StagedFile
from tuneyard.storage.store import (
    ObjectInfo,
    UploadPart,
    check_part,
    check_part_number,
    check_part_size,
    check_parts,
)
from tuneyard.storage.transfer import CHUNK_BYTES, write_all

_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")
_COMPLETE = "complete-"


@dataclass(frozen=True)
class _Upload:
    key: str
    part_size_bytes: int
    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "parts"


class FolderUploads:
    """Uploads below one root. Keys are valid; errors of the file system are OSErrors."""

    def __init__(self, root: Path, *, objects: FolderObjects, boot: str) -> None:
        self._folder = root / "uploads"
        self._objects = objects
        self._boot = boot
        self._digests = UploadDigests()

    def prepare(self) -> None:
        make_folder(self._folder)

    def create(self, key: str, *, part_size_bytes: int) -> str:
        check_part_size(part_size_bytes)
        upload_id = secrets.token_hex(16)
        upload = _Upload(key, part_size_bytes, self._folder / upload_id)
        upload.folder.mkdir()
        write_durably(upload.data, b"")
        write_durably(upload.log, b"")
        record = {"key": key, "part_size_bytes": part_size_bytes}
        write_durably(upload.folder / "new", json.dumps(record).encode())
        (upload.folder / "new").rename(upload.folder / "upload.json")
        sync_folder(upload.folder)
        sync_folder(self._folder)
        return upload_id

    def put_part(
        self, key: str, upload_id: str, number: int, blocks: Iterable[bytes | memoryview]
    ) -> UploadPart:
        """Store a part from a stream, whose own errors pass through and leave the part absent."""
        check_part_number(number)
        with ExitStack() as stack:
            with storage_errors():
                upload = self._find(key, upload_id)
                start = (number - 1) * upload.part_size_bytes
                descriptor = stack.enter_context(_opened(upload))
                stack.enter_context(locked(descriptor, offset=start, length=upload.part_size_bytes))
                self._check_open(upload, descriptor)
                if number in _read_log(upload.log):
                    _append(upload.log, {"number": number})
            digest = self._digests.before(upload_id, number)
            size_bytes = 0
            check = xxhash.xxh3_64()
            for block in blocks:
                check_part(number, size_bytes + len(block), part_size_bytes=upload.part_size_bytes)
                with storage_errors():
                    write_all(descriptor, block, offset=start + size_bytes)
                if digest is not None:
                    digest.hash.update(block)
                check.update(block)
                size_bytes += len(block)
            check_part(number, size_bytes, part_size_bytes=upload.part_size_bytes)
            begin_writeback(descriptor, offset=start, length=size_bytes)
            part = UploadPart(number, size_bytes, secrets.token_hex(8))
            with storage_errors():
                _append(upload.log, {"boot": self._boot, "xxh3": check.hexdigest(), **asdict(part)})
        self._digests.keep(upload_id, digest, part)
        return part

    def parts(self, key: str, upload_id: str) -> list[UploadPart]:
        upload = self._find(key, upload_id)
        # Completing may have been cut short: its caller will want the parts again.
        with _opened(upload, path=_final(upload)) as descriptor:
            return self._stored(upload, descriptor)

    def complete(
        self, key: str, upload_id: str, parts: Sequence[UploadPart], *, sha256: str | None
    ) -> ObjectInfo:
        upload = self._find(key, upload_id)
        final = _final(upload) or self._close(upload, parts)
        found = final.name.removeprefix(_COMPLETE)
        if sha256 is not None and found != sha256:
            self.abort(key, upload_id)
            raise ChecksumMismatch(key)
        try:
            info = self._objects.commit(key, StagedFile(final, final.stat().st_size, found))
        except FileNotFoundError:
            raise UploadNotFound(key) from None
        self.abort(key, upload_id)
        return info

    def abort(self, key: str, upload_id: str) -> None:
        try:
            upload = self._find(key, upload_id)
        except UploadNotFound:
            return
        # First the record: without it the upload is gone, however far the rest comes.
        with suppress(FileNotFoundError):
            (upload.folder / "upload.json").unlink()
        shutil.rmtree(upload.folder, ignore_errors=True)
        self._digests.forget(upload_id)

    def sweep(self, *, before: datetime) -> int:
        """Delete the remains of uploads that are no longer, or never were, open."""
        gone = [
            folder
            for folder in self._folder.iterdir()
            if not (folder / "upload.json").exists() and folder.stat().st_ctime < before.timestamp()
        ]
        for folder in gone:
            shutil.rmtree(folder, ignore_errors=True)
        return len(gone)

    def _find(self, key: str, upload_id: str) -> _Upload:
        if not _UPLOAD_ID.fullmatch(upload_id):
            raise UploadNotFound(key)
        folder = self._folder / upload_id
        try:
            record = json.loads((folder / "upload.json").read_bytes())
        except FileNotFoundError:
            raise UploadNotFound(key) from None
        if record["key"] != key:
            raise UploadNotFound(key)
        return _Upload(key, record["part_size_bytes"], folder)

    def _check_open(self, upload: _Upload, descriptor: int) -> None:
        """Refuse to write where the bytes became an object's while this writer waited for the lock."""
        try:
            if os.path.samestat(os.stat(upload.data), os.fstat(descriptor)):
                return
        except FileNotFoundError:
            pass
        raise UploadNotFound(upload.key)

    def _close(self, upload: _Upload, parts: Sequence[UploadPart]) -> Path:
        """Settle the parts: check them, hash what was not hashed on the way, and refuse any more of them."""
        with _opened(upload) as descriptor, locked(descriptor):
            try:
                self._check_open(upload, descriptor)
                stored = self._stored(upload, descriptor)
            except (UploadNotFound, FileNotFoundError):
                # Another caller completed it while this one waited.
                return _final(upload) or _gone(upload)
            size_bytes = check_parts(parts, stored, part_size_bytes=upload.part_size_bytes)
            os.ftruncate(descriptor, size_bytes)
            sha256 = self._hash(upload, descriptor, parts)
            os.fsync(descriptor)
            final = upload.folder / f"{_COMPLETE}{sha256}"
            upload.data.rename(final)
            sync_folder(upload.folder)
            return final

    def _stored(self, upload: _Upload, descriptor: int) -> list[UploadPart]:
        """The parts that are whole, by number."""
        parts = []
        for number, line in sorted(_read_log(upload.log).items()):
            start, size_bytes = (number - 1) * upload.part_size_bytes, line["size_bytes"]
            if line["boot"] == self._boot or line["xxh3"] == _xxh3(descriptor, start, size_bytes):
                parts.append(UploadPart(number, size_bytes, line["etag"]))
        return parts

    def _hash(self, upload: _Upload, descriptor: int, parts: Sequence[UploadPart]) -> str:
        digest, position = self._digests.of(upload.folder.name, parts)
        while block := os.pread(descriptor, CHUNK_BYTES, position):
            digest.update(block)
            position += len(block)
        return digest.hexdigest()


@contextmanager
def _opened(upload: _Upload, *, path: Path | None = None) -> Iterator[int]:
    try:
        descriptor = os.open(path or upload.data, os.O_RDWR)
    except FileNotFoundError:
        raise UploadNotFound(upload.key) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _final(upload: _Upload) -> Path | None:
    return next(upload.folder.glob(f"{_COMPLETE}*"), None)


def _gone(upload: _Upload) -> Path:
    raise UploadNotFound(upload.key)


def _append(log: Path, record: dict[str, object]) -> None:
    """Add a line in one write. The break comes first too, so that a torn line spoils only itself."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    try:
        write_all(descriptor, f"\n{json.dumps(record)}\n".encode())
    finally:
        os.close(descriptor)


def _read_log(log: Path) -> dict[int, dict[str, Any]]:
    """The last line of each part that is not struck out."""
    lines: dict[int, dict[str, Any]] = {}
    for text in log.read_text(errors="replace").splitlines():
        try:
            line = json.loads(text)
            number = line["number"]
        except (ValueError, TypeError, KeyError):
            continue
        lines.pop(number, None)
        if "etag" in line:
            lines[number] = line
    return lines


def _xxh3(descriptor: int, position: int, size_bytes: int) -> str:
    check = xxhash.xxh3_64()
    while size_bytes and (block := os.pread(descriptor, min(CHUNK_BYTES, size_bytes), position)):
        check.update(block)
        position += len(block)
        size_bytes -= len(block)
    return check.hexdigest()
