"""Writes to an S3 server that take more than one request: long streams, and uploads that outlive this
process.

Where the SHA-256 is known beforehand, parts go under the key itself. Where it is not, they go to a
staged object, which is hashed, copied under the key by the server, and deleted.
"""

import hashlib
import re
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from tuneyard.storage.digests import UploadDigests
from tuneyard.storage.errors import (
    ChecksumMismatch,
    InvalidPart,
    ObjectExists,
    ObjectNotFound,
    StorageError,
    UploadNotFound,
)
from tuneyard.storage.s3_bucket import S3Bucket
from tuneyard.storage.s3_download import Download
from tuneyard.storage.s3_errors import FAILURES, s3_errors
from tuneyard.storage.store import ObjectInfo, PartList, UploadPart, check_part, check_part_size, check_parts

STAGING = ".uploads/"
# Parts on their way at once, for one stream.
_WINDOW = 3
# What the server copies in one request: long enough to be few, short enough to be answered before a timeout.
_COPY_BYTES = 256 * 1024 * 1024
_UPLOAD_ID = re.compile(r"(?P<token>[0-9a-f]{32})\.(?P<part_size>[0-9]{1,10})\.(?P<id>[!-~]+)")


@dataclass(frozen=True)
class StagedUpload:
    """A durable upload as its id tells it: nothing else need be remembered."""

    name: str
    s3_id: str
    part_size_bytes: int


class MinioUploads:
    """Multipart writes below one prefix of a bucket. Keys are valid."""

    def __init__(self, bucket: S3Bucket, *, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._digests = UploadDigests()

    def settle(
        self, key: str, *, name: str, metadata: dict[str, str], write: Callable[[], datetime]
    ) -> datetime:
        """Do the write that makes an object with this metadata; return when it was made.

        A request whose answer was lost is sent again, and then meets the object that it made itself.
        """
        try:
            with s3_errors(key):
                return write()
        except (ObjectExists, UploadNotFound):
            with suppress(StorageError), s3_errors(key):
                head = self._bucket.head(name)
                if head.metadata.get("write-id") == metadata["write-id"]:
                    return head.modified
            raise

    def put_stream(
        self, key: str, blocks: Iterable[bytearray], *, sha256: str | None, if_absent: bool
    ) -> ObjectInfo:
        """Store a stream cut into parts. Errors raised by the stream itself pass through."""
        staged = sha256 is None
        name = self._staged_name(key, secrets.token_hex(16)) if staged else self._prefix + key
        metadata = stamp(sha256 or "")
        with s3_errors(key):
            upload_id = self._bucket.create_upload(name, metadata=metadata)
        complete = partial(self._bucket.complete_upload, if_absent=if_absent and not staged)
        try:
            parts, found = self._send(name, upload_id, blocks, key=key)
            if not staged and sha256 != found:
                raise ChecksumMismatch(key)
            modified = self.settle(
                key, name=name, metadata=metadata, write=partial(complete, name, upload_id, parts)
            )
        except BaseException:
            self._abandon(name, upload_id)
            raise
        size_bytes = sum(part.size_bytes for part in parts)
        if not staged:
            return ObjectInfo(key, size_bytes, found, modified)
        try:
            return self._publish(name, key, sha256=found, size_bytes=size_bytes, if_absent=if_absent)
        finally:
            self._discard(name)

    def create(self, key: str, *, part_size_bytes: int) -> str:
        check_part_size(part_size_bytes)
        token = secrets.token_hex(16)
        with s3_errors(key):
            s3_id = self._bucket.create_upload(self._staged_name(key, token), metadata=stamp(""))
        return f"{token}.{part_size_bytes}.{s3_id}"

    def put_part(self, key: str, upload_id: str, number: int, data: bytes | memoryview) -> UploadPart:
        upload = self.find(key, upload_id)
        check_part(number, len(data), part_size_bytes=upload.part_size_bytes)
        digest = self._digests.before(upload_id, number)
        if digest is not None:
            digest.hash.update(data)
        with s3_errors(key):
            part = self._bucket.put_part(upload.name, upload.s3_id, number, data)
        self._digests.keep(upload_id, digest, part)
        return part

    def parts(self, key: str, upload_id: str) -> PartList:
        upload = self.find(key, upload_id)
        with s3_errors(key):
            return self._bucket.parts(upload.name, upload.s3_id)

    def complete(
        self, key: str, upload_id: str, parts: Sequence[UploadPart], *, sha256: str | None
    ) -> ObjectInfo:
        """Stage the object, hash what was not hashed on the way, and copy it under its key.

        Cut short anywhere, it goes on from there when it is called again.
        """
        upload = self.find(key, upload_id)
        try:
            with s3_errors(key):
                stored = self._bucket.parts(upload.name, upload.s3_id)
                check_parts(parts, stored, part_size_bytes=upload.part_size_bytes)
                self._bucket.complete_upload(upload.name, upload.s3_id, parts)
        except UploadNotFound:
            # It may be staged already, by a call that was cut short or by a request that was sent twice.
            self._check_staged(key, upload, parts)
        found, size_bytes = self._hash(key, upload_id, upload.name, parts)
        if sha256 not in (None, found):
            self._discard(upload.name)
            raise ChecksumMismatch(key)
        info = self._publish(upload.name, key, sha256=found, size_bytes=size_bytes, if_absent=False)
        self.abort(key, upload_id)
        return info

    def abort(self, key: str, upload_id: str) -> None:
        with suppress(UploadNotFound):
            upload = self.find(key, upload_id)
            with suppress(UploadNotFound), s3_errors(key):
                self._bucket.abort_upload(upload.name, upload.s3_id)
            with s3_errors(key):
                self._bucket.remove(upload.name)
        self._digests.forget(upload_id)

    def find(self, key: str, upload_id: str) -> StagedUpload:
        """Where the upload's parts are, if the id can be one."""
        found = _UPLOAD_ID.fullmatch(upload_id)
        if found is None:
            raise UploadNotFound(key)
        return StagedUpload(
            name=self._staged_name(key, found["token"]),
            s3_id=found["id"],
            part_size_bytes=int(found["part_size"]),
        )

    def sweep(self, *, before: datetime) -> int:
        """Delete staged objects that nobody came back for."""
        swept = 0
        with s3_errors(STAGING):
            for name in self._bucket.names(self._prefix + STAGING):
                if self._bucket.head(name).modified < before:
                    self._bucket.remove(name)
                    swept += 1
        return swept

    def _send(
        self, name: str, upload_id: str, blocks: Iterable[bytearray], *, key: str
    ) -> tuple[list[UploadPart], str]:
        """Upload blocks as parts, a few at once; return the parts and the SHA-256 of all bytes."""
        digest = hashlib.sha256()
        parts: list[UploadPart] = []
        pending: deque[Future[UploadPart]] = deque()

        def finish(count: int) -> None:
            while len(pending) > count:
                with s3_errors(key):
                    parts.append(pending.popleft().result())

        with ThreadPoolExecutor(_WINDOW, thread_name_prefix="storage-part") as pool:
            for number, block in enumerate(blocks, start=1):
                finish(_WINDOW - 1)
                pending.append(pool.submit(self._bucket.put_part, name, upload_id, number, block))
                digest.update(block)
            finish(0)
        return parts, digest.hexdigest()

    def _hash(self, key: str, upload_id: str, name: str, parts: Sequence[UploadPart]) -> tuple[str, int]:
        digest, position = self._digests.of(upload_id, parts)
        download = Download(self._bucket, name, key=key, offset=position, length=None)
        with download.reader() as reader:
            for chunk in reader:
                digest.update(chunk)
        return digest.hexdigest(), download.head.size_bytes

    def _check_staged(self, key: str, upload: StagedUpload, parts: Sequence[UploadPart]) -> None:
        try:
            with s3_errors(key):
                size_bytes = self._bucket.head(upload.name).size_bytes
        except ObjectNotFound:
            raise UploadNotFound(key) from None
        if size_bytes != sum(part.size_bytes for part in parts):
            raise InvalidPart("these are not the parts that the upload was completed with")

    def _publish(self, source: str, key: str, *, sha256: str, size_bytes: int, if_absent: bool) -> ObjectInfo:
        """Have the server copy a staged object under its key.

        In parts, since only then may it be longer than 5 GiB, and only completing takes a condition.
        """
        name, metadata = self._prefix + key, stamp(sha256)
        with s3_errors(key):
            upload_id = self._bucket.create_upload(name, metadata=metadata)
        try:
            parts = []
            for number, offset in enumerate(range(0, size_bytes, _COPY_BYTES), start=1):
                length = min(_COPY_BYTES, size_bytes - offset)
                with s3_errors(key):
                    part = self._bucket.copy_part(
                        name, upload_id, number, source=source, offset=offset, length=length
                    )
                parts.append(part)
            complete = partial(self._bucket.complete_upload, name, upload_id, parts, if_absent=if_absent)
            modified = self.settle(key, name=name, metadata=metadata, write=complete)
        except BaseException:
            self._abandon(name, upload_id)
            raise
        return ObjectInfo(key, size_bytes, sha256, modified)

    def _staged_name(self, key: str, token: str) -> str:
        # The key's hash makes an upload's id useless with any other key.
        return f"{self._prefix}{STAGING}{hashlib.sha256(key.encode()).hexdigest()[:32]}-{token}"

    def _abandon(self, name: str, upload_id: str) -> None:
        """Give up an upload whose own error is on its way; what cannot be removed now, a lifecycle rule
        must.
        """
        with suppress(*FAILURES):
            self._bucket.abort_upload(name, upload_id)

    def _discard(self, name: str) -> None:
        with suppress(*FAILURES):
            self._bucket.remove(name)


def stamp(sha256: str) -> dict[str, str]:
    """The metadata of one write: its object's hash, empty while unknown, and an id that tells it from
    others.
    """
    return {"sha256": sha256, "write-id": secrets.token_hex(16)}
