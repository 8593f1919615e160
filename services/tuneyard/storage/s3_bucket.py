"""The S3 calls that the store is made of, on one bucket: the common subset, through the `minio` SDK.

The SDK's public methods cannot resume an upload or set a condition on its completion, so a few of its
internal ones are used; they are all in this module, and the SDK's version is bounded for it.
"""

import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, fromstring, tostring

import certifi
import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from minio.helpers import DictType
from urllib3.response import BaseHTTPResponse

from tuneyard.storage.opening import StoreSettings
from tuneyard.storage.store import UploadPart
from tuneyard.storage.transfer import utc_now

_META = "x-amz-meta-"


@dataclass(frozen=True)
class Head:
    """What the server says of an object beside its bytes."""

    size_bytes: int
    etag: str
    modified: datetime
    metadata: dict[str, str]


class S3Bucket:
    """One bucket. Names are whole: prefixes are the store's business, and so are the SDK's errors."""

    def __init__(
        self, bucket: str, *, settings: StoreSettings, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._bucket = bucket
        self._clock = clock
        self._client = _client(settings.s3_endpoint, settings)
        self._signing = _client(settings.s3_public_endpoint or settings.s3_endpoint, settings)

    def create(self) -> None:
        """Create the bucket unless it is there."""
        if self._client.bucket_exists(self._bucket):
            return
        try:
            self._client.make_bucket(self._bucket)
        except S3Error as error:
            if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise

    def head(self, name: str) -> Head:
        found = self._client.stat_object(self._bucket, name)
        return _head(found.metadata or {}, size_bytes=found.size or 0)

    def get(self, name: str, *, offset: int, length: int | None) -> tuple[Head, BaseHTTPResponse]:
        """The object and an open response with its bytes from the offset on; a length is never 0."""
        response = self._client.get_object(self._bucket, name, offset=offset, length=length or 0)
        headers = response.headers
        total = headers.get("content-range", "").rpartition("/")[2] or headers["content-length"]
        return _head(headers, size_bytes=int(total)), response

    def put(
        self, name: str, data: bytes | bytearray | memoryview, *, metadata: dict[str, str], if_absent: bool
    ) -> datetime:
        """Store an object in one request; return when, by the server's clock."""
        headers = {"Content-Type": "application/octet-stream", **_metadata(metadata), **_condition(if_absent)}
        result = self._client._put_object(self._bucket, name, _bytes(data), headers)
        return _date(result.http_headers.get("date"))

    def names(self, prefix: str) -> Iterator[str]:
        for found in self._client.list_objects(self._bucket, prefix=prefix, recursive=True):
            yield str(found.object_name)

    def remove(self, name: str) -> None:
        self._client.remove_object(self._bucket, name)

    def remove_all(self, names: Iterable[str]) -> None:
        """Remove many objects with few requests; the first refusal is raised."""
        for error in self._client.remove_objects(self._bucket, (DeleteObject(name) for name in names)):
            raise OSError(f"the server kept an object: {error.code}")

    def create_upload(self, name: str, *, metadata: dict[str, str]) -> str:
        return self._client._create_multipart_upload(self._bucket, name, _metadata(metadata))

    def put_part(
        self, name: str, upload_id: str, number: int, data: bytes | bytearray | memoryview
    ) -> UploadPart:
        etag = self._client._upload_part(self._bucket, name, _bytes(data), None, upload_id, number)
        return UploadPart(number, len(data), etag)

    def copy_part(
        self, name: str, upload_id: str, number: int, *, source: str, offset: int, length: int
    ) -> UploadPart:
        """Make a part of bytes that the server has already."""
        headers: DictType = {
            "x-amz-copy-source": quote(f"/{self._bucket}/{source}"),
            "x-amz-copy-source-range": f"bytes={offset}-{offset + length - 1}",
        }
        etag, _ = self._client._upload_part_copy(self._bucket, name, upload_id, number, headers)
        return UploadPart(number, length, etag)

    def parts(self, name: str, upload_id: str) -> list[UploadPart]:
        parts: list[UploadPart] = []
        marker: str | None = None
        while True:
            page = self._client._list_parts(self._bucket, name, upload_id, part_number_marker=marker)
            parts += [UploadPart(part.part_number, part.size or 0, part.etag) for part in page.parts]
            marker = page.next_part_number_marker
            if not page.is_truncated or not marker:
                return parts

    def complete_upload(
        self, name: str, upload_id: str, parts: Sequence[UploadPart], *, if_absent: bool = False
    ) -> datetime:
        """Make the object of its parts; return when, by the server's clock."""
        body = _completion(parts)
        response = self._client._execute(
            "POST",
            self._bucket,
            name,
            body=body,
            headers={
                "Content-Type": "application/xml",
                "Content-MD5": b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode(),
                **_condition(if_absent),
            },
            query_params={"uploadId": upload_id},
        )
        # Completing may take longer than servers like to be silent: they answer 200 first, and an error
        # after it.
        if fromstring(response.data.decode().strip()).tag.endswith("Error"):
            raise S3Error.fromxml(response)
        return _date(response.headers.get("date"))

    def abort_upload(self, name: str, upload_id: str) -> None:
        self._client._abort_multipart_upload(self._bucket, name, upload_id)

    def sign(self, method: str, name: str, *, expires: timedelta, query: dict[str, str]) -> str:
        return self._signing.get_presigned_url(
            method, self._bucket, name, expires, request_date=self._clock(), extra_query_params={**query}
        )


def _client(endpoint: str, settings: StoreSettings) -> Minio:
    timeout = urllib3.Timeout(
        connect=settings.s3_connect_timeout.total_seconds(), read=settings.s3_read_timeout.total_seconds()
    )
    # Every request may be sent twice: writes carry an id, by which the store finds that an earlier one
    # went through.
    retries = urllib3.Retry(
        total=settings.s3_retries,
        backoff_factor=0.2,
        backoff_max=5,
        status_forcelist=(500, 502, 503, 504),
        allowed_methods=None,
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    pool = urllib3.PoolManager(
        timeout=timeout,
        retries=retries,
        maxsize=settings.s3_connections,
        cert_reqs="CERT_REQUIRED",
        ca_certs=certifi.where(),
    )
    return Minio(
        endpoint,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key,
        region=settings.s3_region,
        secure=settings.s3_secure,
        http_client=pool,
    )


def _completion(parts: Sequence[UploadPart]) -> bytes:
    root = Element("CompleteMultipartUpload")
    for part in parts:
        element = SubElement(root, "Part")
        SubElement(element, "PartNumber").text = str(part.number)
        SubElement(element, "ETag").text = f'"{part.etag}"'
    return tostring(root)


def _head(headers: Mapping[str, str], *, size_bytes: int) -> Head:
    lower = {name.lower(): value for name, value in headers.items()}
    metadata = {name.removeprefix(_META): value for name, value in lower.items() if name.startswith(_META)}
    etag = lower.get("etag", "").replace('"', "")
    return Head(size_bytes, etag, _date(lower.get("last-modified")), metadata)


def _metadata(metadata: dict[str, str]) -> DictType:
    return {_META + name: value for name, value in metadata.items()}


def _condition(if_absent: bool) -> DictType:
    return {"If-None-Match": "*"} if if_absent else {}


def _date(text: str | None) -> datetime:
    return parsedate_to_datetime(text).astimezone(UTC) if text else datetime.now(UTC)


def _bytes(data: bytes | bytearray | memoryview) -> bytes:
    # The SDK is annotated for bytes, and hashes and sends any buffer; a copy of each part would be the
    # only gain.
    return data  # type: ignore[return-value]
