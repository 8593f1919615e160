from xml.etree.ElementTree import ParseError

import pytest
import urllib3
from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, ProtocolError, ReadTimeoutError

from tuneyard.storage import (
    ChecksumMismatch,
    InvalidKey,
    InvalidPart,
    ObjectExists,
    ObjectNotFound,
    StorageError,
    StoreFull,
    StoreUnavailable,
    UploadNotFound,
)
from tuneyard.storage.s3_errors import s3_errors

POOL = urllib3.HTTPConnectionPool("host.internal")


def answer(code: str) -> S3Error:
    return S3Error(urllib3.HTTPResponse(), code, "internal words", "/bucket/k", "request", "host.internal")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (answer("NoSuchKey"), ObjectNotFound),
        (answer("NoSuchUpload"), UploadNotFound),
        (answer("PreconditionFailed"), ObjectExists),
        (ServerError("internal words", 412), ObjectExists),
        (answer("BadDigest"), ChecksumMismatch),
        (answer("XAmzContentSHA256Mismatch"), ChecksumMismatch),
        (answer("KeyTooLongError"), InvalidKey),
        (answer("XMinioInvalidObjectName"), InvalidKey),
        (answer("InvalidPart"), InvalidPart),
        (answer("InvalidPartOrder"), InvalidPart),
        (answer("EntityTooSmall"), InvalidPart),
        (answer("XMinioStorageFull"), StoreFull),
        (answer("QuotaExceeded"), StoreFull),
        (ServerError("internal words", 507), StoreFull),
        (answer("AccessDenied"), StoreUnavailable),
        (answer("InvalidAccessKeyId"), StoreUnavailable),
        (answer("SignatureDoesNotMatch"), StoreUnavailable),
        (answer("NoSuchBucket"), StoreUnavailable),
        (answer("InternalError"), StoreUnavailable),
        (answer("SlowDown"), StoreUnavailable),
        (answer("ConditionalRequestConflict"), StoreUnavailable),
        (answer("<script>"), StoreUnavailable),
        (answer(""), StoreUnavailable),
        (ServerError("internal words", 502), StoreUnavailable),
        (InvalidResponseError(200, "text/html", "internal words"), StoreUnavailable),
        (MaxRetryError(POOL, "/bucket/k", ConnectTimeoutError("host.internal")), StoreUnavailable),
        (ReadTimeoutError(POOL, "/bucket/k", "internal words"), StoreUnavailable),
        (ProtocolError("internal words"), StoreUnavailable),
        (ConnectionResetError("internal words"), StoreUnavailable),
        (ParseError("internal words"), StoreUnavailable),
        (ValueError("internal words"), StoreUnavailable),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, Exception) else value.__name__,
)
def test_every_error_beneath_becomes_one_of_ours(error: Exception, expected: type[StorageError]) -> None:
    with pytest.raises(StorageError) as caught, s3_errors("k"):
        raise error
    assert type(caught.value) is expected
    assert caught.value.__cause__ is error
    assert "internal" not in caught.value.message
    assert "<" not in caught.value.message


def test_our_own_errors_and_bugs_pass() -> None:
    for error in (ObjectNotFound("k"), KeyError("k"), AssertionError()):
        with pytest.raises(type(error)) as caught, s3_errors("k"):
            raise error
        assert caught.value is error
