"""From the errors of the S3 SDK and of HTTP to the store's own. Their texts are not passed on."""

from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree.ElementTree import ParseError

from minio.error import MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError

from tuneyard.storage.errors import (
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

# Everything that a call of the SDK can raise but programming errors.
FAILURES = (MinioException, HTTPError, OSError, ParseError, ValueError)

_OF_KEY: dict[
    str, type[ObjectNotFound] | type[ObjectExists] | type[ChecksumMismatch] | type[UploadNotFound]
] = {
    "NoSuchKey": ObjectNotFound,
    "NoSuchUpload": UploadNotFound,
    "PreconditionFailed": ObjectExists,
    "BadDigest": ChecksumMismatch,
    "XAmzContentSHA256Mismatch": ChecksumMismatch,
}
_MESSAGES: dict[str, StorageError] = {
    **dict.fromkeys(
        ("KeyTooLongError", "InvalidObjectName", "XMinioInvalidObjectName", "XMinioParentIsObject"),
        InvalidKey("the object store refuses this key"),
    ),
    **dict.fromkeys(
        ("InvalidPart", "InvalidPartOrder", "EntityTooSmall", "EntityTooLarge", "InvalidPartNumber"),
        InvalidPart("the object store refuses these parts"),
    ),
    **dict.fromkeys(
        ("XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage"),
        StoreFull("no space is left in the object store"),
    ),
    **dict.fromkeys(
        ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"),
        StoreUnavailable("the object store refuses our credentials"),
    ),
    "NoSuchBucket": StoreUnavailable("the object store's bucket is gone"),
}


@contextmanager
def s3_errors(key: str) -> Iterator[None]:
    """Turn what a call about this key raises into StorageErrors."""
    try:
        yield
    except FAILURES as error:
        raise translate(error, key) from error


def translate(error: Exception, key: str) -> StorageError:
    if isinstance(error, ServerError) and error.status_code in (412, 507):
        return (
            ObjectExists(key)
            if error.status_code == 412
            else StoreFull("no space is left in the object store")
        )
    if not isinstance(error, S3Error):
        return StoreUnavailable("the object store does not answer as it should")
    code = error.code or ""
    if code in _OF_KEY:
        return _OF_KEY[code](key)
    if code in _MESSAGES:
        known = _MESSAGES[code]
        return type(known)(known.message)
    return StoreUnavailable(f"the object store answered {code if code.isalnum() else 'with an error'}")
