"""Object storage: one contract, a store in a folder and one on any S3 server. It knows nothing of jobs
or gRPC.
"""

from tuneyard.storage.errors import (
    ChecksumMismatch,
    InvalidKey,
    InvalidPart,
    ObjectExists,
    ObjectNotFound,
    SignatureExpired,
    SignatureInvalid,
    StorageError,
    StoreFull,
    StoreUnavailable,
    UploadNotFound,
)
from tuneyard.storage.folder import FolderStore
from tuneyard.storage.opening import StoreSettings, open_store
from tuneyard.storage.signing import SignedRequest
from tuneyard.storage.store import (
    MAX_PART_SIZE_BYTES,
    MAX_PARTS,
    MIN_PART_SIZE_BYTES,
    ObjectData,
    ObjectInfo,
    ObjectStore,
    UploadPart,
)
from tuneyard.storage.transfer import ObjectReader

__all__ = [
    "MAX_PARTS",
    "MAX_PART_SIZE_BYTES",
    "MIN_PART_SIZE_BYTES",
    "ChecksumMismatch",
    "FolderStore",
    "InvalidKey",
    "InvalidPart",
    "ObjectData",
    "ObjectExists",
    "ObjectInfo",
    "ObjectNotFound",
    "ObjectReader",
    "ObjectStore",
    "SignatureExpired",
    "SignatureInvalid",
    "SignedRequest",
    "StorageError",
    "StoreFull",
    "StoreSettings",
    "StoreUnavailable",
    "UploadNotFound",
    "UploadPart",
    "open_store",
]
