"""The object store on an S3 server: MinIO, Ceph or any other that speaks the common subset.

Every object carries its SHA-256 as metadata, `x-amz-meta-sha256`, which S3 takes when a write begins.
Where the hash is known only at the end, in long streams and durable uploads, the bytes go to a staged
object below `.uploads/`; once they are hashed the server itself copies them under the key, with the
metadata. So no object is ever visible without its true SHA-256, and none needs a second object to tell
it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Self
from urllib.parse import quote

from tuneyard.storage.errors import ChecksumMismatch, InvalidKey, ObjectExists, ObjectNotFound, UploadNotFound
from tuneyard.storage.keys import check_folder, check_key, check_prefix
from tuneyard.storage.minio_uploads import MinioUploads, stamp
from tuneyard.storage.opening import StoreSettings
from tuneyard.storage.s3_bucket import Head, S3Bucket
from tuneyard.storage.s3_download import Download
from tuneyard.storage.s3_errors import s3_errors
from tuneyard.storage.store import (
    ObjectData,
    ObjectInfo,
    PartList,
    UploadPart,
    check_expiry,
    check_part_number,
)
from tuneyard.storage.transfer import ObjectReader, check_range, hash_file, regroup, utc_now, write_file

_PART_BYTES = 16 * 1024 * 1024
_PARTS_OF_A_SIZE = 2000
# A listing tells no metadata: each object is asked for its own, so many at a time.
_LIST_THREADS = 8
_LIST_BATCH = 64


class MinioStore:
    """An `ObjectStore` below a prefix of one bucket."""

    def __init__(self, bucket: S3Bucket, *, prefix: str = "") -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._uploads = MinioUploads(bucket, prefix=self._prefix)

    @classmethod
    def open(cls, bucket: str, *, prefix: str, settings: StoreSettings) -> Self:
        """The store in a bucket, which is created if it is absent."""
        if prefix:
            check_key(prefix)
        opened = S3Bucket(bucket, settings=settings)
        with s3_errors(bucket):
            opened.create()
        return cls(opened, prefix=prefix)

    def put(
        self, key: str, data: ObjectData, *, sha256: str | None = None, if_absent: bool = False
    ) -> ObjectInfo:
        check_key(key)
        if if_absent and self._find(key) is not None:
            raise ObjectExists(key)
        blocks = regroup(data, _part_sizes())
        first, second = next(blocks), next(blocks, None)
        if second is not None:
            parts = chain([first, second], blocks)
            del first, second
            return self._uploads.put_stream(key, parts, sha256=sha256, if_absent=if_absent)
        return self._put_whole(key, first, sha256=sha256, if_absent=if_absent)

    def put_file(
        self, key: str, path: Path, *, sha256: str | None = None, if_absent: bool = False
    ) -> ObjectInfo:
        if sha256 is None and path.stat().st_size > _PART_BYTES:
            # Reading it twice costs less than having the server copy it.
            sha256 = hash_file(path)
        with path.open("rb", buffering=0) as file:
            return self.put(key, file, sha256=sha256, if_absent=if_absent)

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> ObjectReader:
        check_range(offset, length)
        return self._download(check_key(key), offset=offset, length=length).reader()

    def get_file(self, key: str, path: Path) -> ObjectInfo:
        download = self._download(check_key(key), offset=0, length=None)
        info = _info(key, download.head)
        with download.reader() as reader:
            if not write_file(path, reader, sha256=info.sha256):
                raise ChecksumMismatch(key)
        return info

    def stat(self, key: str) -> ObjectInfo:
        with s3_errors(check_key(key)):
            return _info(key, self._bucket.head(self._prefix + key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._list(check_prefix(prefix))

    def delete(self, key: str) -> None:
        with suppress(ObjectNotFound), s3_errors(check_key(key)):
            self._bucket.remove(self._prefix + key)

    def delete_prefix(self, prefix: str) -> int:
        deleted = 0
        keys = self._keys(check_folder(prefix))
        while batch := [self._prefix + key for key in islice(keys, 1000)]:
            with s3_errors(prefix):
                self._bucket.remove_all(batch)
            deleted += len(batch)
        return deleted

    def sign_get(self, key: str, *, expires: timedelta, filename: str | None = None) -> str:
        name = f"; filename*=UTF-8''{quote(filename, safe='')}" if filename is not None else ""
        query = {"response-content-disposition": f"attachment{name}"}
        return self._sign("GET", self._prefix + check_key(key), expires=expires, query=query)

    def sign_put(self, key: str, *, expires: timedelta) -> str:
        return self._sign("PUT", self._prefix + check_key(key), expires=expires, query={})

    def create_upload(self, key: str, *, part_size_bytes: int) -> str:
        return self._uploads.create(check_key(key), part_size_bytes=part_size_bytes)

    def put_part(self, key: str, upload_id: str, number: int, data: bytes | memoryview) -> UploadPart:
        return self._uploads.put_part(check_key(key), upload_id, number, data)

    def list_parts(self, key: str, upload_id: str) -> PartList:
        return self._uploads.parts(check_key(key), upload_id)

    def sign_part(self, key: str, upload_id: str, number: int, *, expires: timedelta) -> str:
        check_part_number(number)
        upload = self._uploads.find(check_key(key), upload_id)
        query = {"partNumber": str(number), "uploadId": upload.s3_id}
        return self._sign("PUT", upload.name, expires=expires, query=query)

    def complete_upload(
        self, key: str, upload_id: str, parts: Sequence[UploadPart], *, sha256: str | None = None
    ) -> ObjectInfo:
        try:
            return self._uploads.complete(check_key(key), upload_id, parts, sha256=sha256)
        except UploadNotFound:
            if sha256 is not None and (made := self._find(key)) is not None and made.sha256 == sha256:
                # The first answer was lost.
                return made
            raise

    def abort_upload(self, key: str, upload_id: str) -> None:
        self._uploads.abort(check_key(key), upload_id)

    def sweep(self, *, older_than: timedelta) -> int:
        return self._uploads.sweep(before=utc_now() - older_than)

    def _put_whole(self, key: str, data: bytearray, *, sha256: str | None, if_absent: bool) -> ObjectInfo:
        found = hashlib.sha256(data).hexdigest()
        if sha256 not in (None, found):
            raise ChecksumMismatch(key)
        name, metadata = self._prefix + key, stamp(found)
        write = partial(self._bucket.put, name, data, metadata=metadata, if_absent=if_absent)
        modified = self._uploads.settle(key, name=name, metadata=metadata, write=write)
        return ObjectInfo(key, len(data), found, modified)

    def _download(self, key: str, *, offset: int, length: int | None) -> Download:
        return Download(self._bucket, self._prefix + key, key=key, offset=offset, length=length)

    def _list(self, prefix: str) -> Iterator[ObjectInfo]:
        keys = self._keys(prefix)
        with ThreadPoolExecutor(_LIST_THREADS, thread_name_prefix="storage-list") as pool:
            while batch := [*islice(keys, _LIST_BATCH)]:
                yield from filter(None, pool.map(self._find, batch))

    def _keys(self, prefix: str) -> Iterator[str]:
        with s3_errors(prefix):
            for name in self._bucket.names(self._prefix + prefix):
                # Staged objects, and names of other tools that are no keys.
                with suppress(InvalidKey):
                    yield check_key(name.removeprefix(self._prefix))

    def _find(self, key: str) -> ObjectInfo | None:
        try:
            return self.stat(key)
        except ObjectNotFound:
            return None

    def _sign(self, method: str, name: str, *, expires: timedelta, query: dict[str, str]) -> str:
        check_expiry(expires)
        return self._bucket.sign(method, name, expires=expires, query=query)


def _info(key: str, head: Head) -> ObjectInfo:
    return ObjectInfo(key, head.size_bytes, head.metadata.get("sha256", ""), head.modified)


def _part_sizes() -> Iterator[int]:
    """Growing, so that the 10,000 parts that S3 allows reach to a terabyte."""
    number = 0
    while True:
        yield min(_PART_BYTES << (number // _PARTS_OF_A_SIZE), 16 * _PART_BYTES)
        number += 1
