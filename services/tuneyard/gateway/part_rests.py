"""What has arrived of an upload's next part before its stream ended: kept beside the whole parts, so that a
client may send as little at a time as it likes, and a line that breaks often still gets on.

A store's parts can be neither short nor read before the object is made. So the beginning of a part is an
object of its own, and goes into the part when the rest has come.
"""

import hashlib
from collections.abc import Iterator
from typing import Final

from tuneyard.storage import ObjectNotFound, ObjectStore

_CHUNK_BYTES: Final = 1 << 20


def rests_prefix(key: str) -> str:
    """The prefix of all beginnings of parts of an upload to `key`."""
    return f"{key}.rests/"


class PartRests:
    """Beginnings of parts, by the upload and the part's number. Synchronous, as the store is."""

    def __init__(self, store: ObjectStore, key: str, upload_id: str) -> None:
        # Ids of a store are of any length and characters. What an upload before it left is not its own.
        upload = hashlib.sha256(upload_id.encode()).hexdigest()[:16]
        self._prefix = f"{rests_prefix(key)}{upload}-"
        self._all = rests_prefix(key)
        self._store = store

    def size(self, number: int) -> int:
        """How many bytes are kept; 0 if none."""
        try:
            return self._store.stat(self._key(number)).size_bytes
        except ObjectNotFound:
            return 0

    def read(self, number: int) -> bytes:
        """All of them. ObjectNotFound."""
        with self._store.read(self._key(number)) as reader:
            return b"".join(reader)

    def keep(self, number: int, begun: memoryview) -> None:
        """Store them in place of those kept before."""
        self._store.put(self._key(number), _chunks(begun))

    def drop(self, number: int) -> None:
        """Forget those of one part."""
        self._store.delete(self._key(number))

    def drop_all(self) -> None:
        """Forget those of this and any earlier upload to the key."""
        self._store.delete_prefix(self._all)

    def _key(self, number: int) -> str:
        return f"{self._prefix}{number}"


def _chunks(begun: memoryview) -> Iterator[bytes]:
    for start in range(0, len(begun), _CHUNK_BYTES):
        yield bytes(begun[start : start + _CHUNK_BYTES])
