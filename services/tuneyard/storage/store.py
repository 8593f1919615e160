"""The contract of an object store: what the gateway and the trainers may ask of one. No store is here."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias

from tuneyard.storage.errors import InvalidPart
from tuneyard.storage.transfer import ObjectReader

# S3's bounds; the folder store keeps to them so that what works on one store works on the other.
MIN_PART_SIZE_BYTES = 5 * 1024 * 1024
MAX_PART_SIZE_BYTES = 5 * 1024 * 1024 * 1024
MAX_PARTS = 10_000
MIN_URL_EXPIRY = timedelta(seconds=1)
MAX_URL_EXPIRY = timedelta(days=7)

ObjectData: TypeAlias = BinaryIO | Iterable[bytes] | bytes


@dataclass(frozen=True)
class ObjectInfo:
    """One object as it is at a moment."""

    key: str
    size_bytes: int
    sha256: str
    """In hex; empty only for an object of a foreign tool, as a PUT to an S3 server's signed URL is."""
    modified: datetime


@dataclass(frozen=True)
class UploadPart:
    """One stored part of an open upload. The etag is opaque: it changes when the part is put again."""

    number: int
    size_bytes: int
    etag: str


# The protocol's method `list` hides the builtin in the annotations after it.
PartList: TypeAlias = list[UploadPart]


class ObjectStore(Protocol):
    """Bytes under keys. Methods are synchronous and thread-safe, and raise only StorageErrors and ValueError.

    An object is visible whole or not at all, and its SHA-256 was computed from the bytes stored. Keys
    are listed in the order of their UTF-8 bytes.
    """

    def put(
        self, key: str, data: ObjectData, *, sha256: str | None = None, if_absent: bool = False
    ) -> ObjectInfo:
        """Store a stream of any size in flat memory, replacing what the key held.

        Raises ChecksumMismatch where `sha256` is given and is not that of the bytes, ObjectExists where
        `if_absent` is set and the key is taken (of concurrent such writers exactly one wins). An error
        raised by `data` itself passes through, and nothing is stored.
        """
        ...

    def put_file(
        self, key: str, path: Path, *, sha256: str | None = None, if_absent: bool = False
    ) -> ObjectInfo:
        """Store a local file; as `put`. Errors of reading the file are OSErrors."""
        ...

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> ObjectReader:
        """Iterate over an object's bytes in chunks of 1 MiB; close the reader to stop early.

        ObjectNotFound is raised here, not at the first chunk. A range beyond the end is cut; one that
        begins there is empty. Of an object replaced meanwhile the old bytes are read to their end, or
        StoreUnavailable is raised; they are never mixed with the new.
        """
        ...

    def get_file(self, key: str, path: Path) -> ObjectInfo:
        """Write an object to a local file: verified against its SHA-256, then renamed into place."""
        ...

    def stat(self, key: str) -> ObjectInfo: ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """The objects whose keys begin with the prefix ("a/b" takes "a/bc" along), in key order."""
        ...

    def delete(self, key: str) -> None:
        """Delete an object; one that is absent is fine."""
        ...

    def delete_prefix(self, prefix: str) -> int:
        """Delete every object below a prefix that ends with "/"; return how many there were."""
        ...

    def sign_get(self, key: str, *, expires: timedelta, filename: str | None = None) -> str:
        """A URL that reads the object, for 1 second to 7 days; browsers save it as `filename`."""
        ...

    def sign_put(self, key: str, *, expires: timedelta) -> str:
        """A URL that stores an object without credentials. An S3 server does not hash what arrives there."""
        ...

    def create_upload(self, key: str, *, part_size_bytes: int) -> str:
        """Open a durable upload and return its id, which outlives this process.

        All parts but the last have `part_size_bytes`: at least 5 MiB.
        """
        ...

    def put_part(self, key: str, upload_id: str, number: int, data: bytes | memoryview) -> UploadPart:
        """Store part `number`, counted from 1; putting a number again replaces it."""
        ...

    def list_parts(self, key: str, upload_id: str) -> PartList:
        """The stored parts by number."""
        ...

    def sign_part(self, key: str, upload_id: str, number: int, *, expires: timedelta) -> str:
        """A URL that stores one part without credentials."""
        ...

    def complete_upload(
        self, key: str, upload_id: str, parts: Sequence[UploadPart], *, sha256: str | None = None
    ) -> ObjectInfo:
        """Make the object from parts 1…n as `list_parts` or `put_part` returned them.

        Raises InvalidPart where they do not fit; the upload stays open. Raises ChecksumMismatch where
        `sha256` is given and is not that of the bytes; the upload is gone. With `sha256` given a
        repeated call succeeds: it returns the object that the first one made.
        """
        ...

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Give up an upload and its parts; one that is gone is fine."""
        ...

    def sweep(self, *, older_than: timedelta) -> int:
        """Delete what crashed writers left behind, if it is that old; return how many files or objects."""
        ...


def check_part_size(part_size_bytes: int) -> None:
    """Raise InvalidPart for a part size that some store could not serve."""
    if not MIN_PART_SIZE_BYTES <= part_size_bytes <= MAX_PART_SIZE_BYTES:
        raise InvalidPart(f"a part size is {MIN_PART_SIZE_BYTES} to {MAX_PART_SIZE_BYTES} bytes")


def check_part(number: int, size_bytes: int, *, part_size_bytes: int) -> None:
    """Raise InvalidPart for a part that cannot belong to an upload of this part size."""
    check_part_number(number)
    if not 1 <= size_bytes <= part_size_bytes:
        raise InvalidPart(
            f"part {number} has {size_bytes} bytes; this upload's parts have 1 to {part_size_bytes}"
        )


def check_part_number(number: int) -> None:
    if not 1 <= number <= MAX_PARTS:
        raise InvalidPart(f"a part's number is 1 to {MAX_PARTS}")


def check_parts(parts: Sequence[UploadPart], stored: Sequence[UploadPart], *, part_size_bytes: int) -> int:
    """Return the size of the object that the parts make up, or raise InvalidPart."""
    if not parts:
        raise InvalidPart("an object has at least one part")
    by_number = {part.number: part for part in stored}
    for expected, part in enumerate(parts, start=1):
        if part.number != expected:
            raise InvalidPart(f"part {expected} is missing")
        if by_number.get(part.number) != part:
            raise InvalidPart(f"part {part.number} is not stored as given")
        if part.number < len(parts) and part.size_bytes != part_size_bytes:
            raise InvalidPart(f"part {part.number} is shorter than {part_size_bytes} bytes and not the last")
    return sum(part.size_bytes for part in parts)


def check_expiry(expires: timedelta) -> None:
    """Raise ValueError for a life of a signed URL that S3 would refuse."""
    if not MIN_URL_EXPIRY <= expires <= MAX_URL_EXPIRY:
        raise ValueError("a signed URL lives for 1 second to 7 days")
