"""Reading an object from an S3 server, through broken connections."""

from contextlib import suppress

from minio.error import S3Error
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from tuneyard.storage.errors import StoreUnavailable
from tuneyard.storage.s3_bucket import Head, S3Bucket
from tuneyard.storage.s3_errors import s3_errors
from tuneyard.storage.transfer import ObjectReader

# Connections that break one after the other without a byte between them; each was tried several times by
# itself.
_BREAKS = 3


class Download:
    """An open range of one object; `head` says which object it is."""

    def __init__(self, bucket: S3Bucket, name: str, *, key: str, offset: int, length: int | None) -> None:
        self._bucket = bucket
        self._name = name
        self._key = key
        self._position = offset
        self._response: BaseHTTPResponse | None = None
        with s3_errors(key):
            self.head = self._open(length)
        beyond = max(0, self.head.size_bytes - offset)
        self.size_bytes = beyond if length is None else min(length, beyond)
        self._end = offset + self.size_bytes

    def reader(self) -> ObjectReader:
        return ObjectReader(self._read, self._close, size_bytes=self.size_bytes)

    def _open(self, length: int | None) -> Head:
        if length == 0:
            return self._bucket.head(self._name)
        try:
            head, self._response = self._bucket.get(self._name, offset=self._position, length=length)
        except S3Error as error:
            if error.code != "InvalidRange":
                raise
            return self._bucket.head(self._name)
        return head

    def _read(self, size: int) -> bytes:
        for _ in range(_BREAKS):
            with suppress(HTTPError, OSError):
                if self._response is not None and (chunk := self._response.read(size)):
                    self._position += len(chunk)
                    return chunk
            self._close()
            self._reopen()
        raise StoreUnavailable("the object store broke off in the middle of an object")

    def _reopen(self) -> None:
        with s3_errors(self._key):
            length = self._end - self._position
            head, self._response = self._bucket.get(self._name, offset=self._position, length=length)
        if head.etag != self.head.etag:
            self._close()
            raise StoreUnavailable("the object was replaced while it was read")

    def _close(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            # A response read to its end has given its connection back already; any other cannot be reused.
            response.close()
            response.release_conn()
