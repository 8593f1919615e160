"""The one tree of errors that every store raises, whatever failed beneath it.

Messages are meant for users: they name keys, never paths of a machine, credentials or a server's own words.

    StorageError
     ├── ObjectNotFound
     ├── ObjectExists
     ├── InvalidKey
     ├── ChecksumMismatch
     ├── UploadNotFound
     ├── InvalidPart
     ├── SignatureInvalid
     ├── SignatureExpired
     ├── StoreFull
     └── StoreUnavailable
"""

from typing import ClassVar


class StorageError(Exception):
    """Anything a store can raise; `reason` is stable and fit for a machine."""

    reason: ClassVar[str] = "STORAGE_ERROR"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ObjectNotFound(StorageError):
    """No object has this key."""

    reason = "OBJECT_NOT_FOUND"

    def __init__(self, key: str) -> None:
        super().__init__(f"no object has the key {key!r}")
        self.key = key


class ObjectExists(StorageError):
    """A create-once write found an object under its key."""

    reason = "OBJECT_EXISTS"

    def __init__(self, key: str) -> None:
        super().__init__(f"an object with the key {key!r} exists already")
        self.key = key


class InvalidKey(StorageError):
    """The key or prefix breaks the rules of `keys`, or crosses another key's folder in the folder store."""

    reason = "INVALID_KEY"


class ChecksumMismatch(StorageError):
    """The bytes do not have the SHA-256 that was promised; nothing of a refused write is kept."""

    reason = "CHECKSUM_MISMATCH"

    def __init__(self, key: str) -> None:
        super().__init__(f"the bytes of {key!r} do not have the expected SHA-256")
        self.key = key


class UploadNotFound(StorageError):
    """The upload was completed or aborted, or never began under this key."""

    reason = "UPLOAD_NOT_FOUND"

    def __init__(self, key: str) -> None:
        super().__init__(f"no such upload is open for the key {key!r}")
        self.key = key


class InvalidPart(StorageError):
    """A part's number or size is out of bounds, or the parts given do not make up the object."""

    reason = "INVALID_PART"


class SignatureInvalid(StorageError):
    """A signed URL was altered, or is used for something it was not signed for."""

    reason = "SIGNATURE_INVALID"


class SignatureExpired(StorageError):
    """A signed URL's time is over."""

    reason = "SIGNATURE_EXPIRED"


class StoreFull(StorageError):
    """No space, or no quota, is left for the write."""

    reason = "STORE_FULL"


class StoreUnavailable(StorageError):
    """The store cannot be reached, refuses our credentials or fails; none of it is the caller's fault."""

    reason = "STORE_UNAVAILABLE"
