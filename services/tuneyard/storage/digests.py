"""SHA-256 of uploads on their way in: parts that come in turn are hashed once, and never read again for
it.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tuneyard.storage.store import UploadPart

if TYPE_CHECKING:
    from hashlib import _Hash

# An upload forgotten here is only read again when it completes.
_MAX_UPLOADS = 1024


@dataclass
class PartsDigest:
    """The hash of parts 1…n of an upload, as they had these etags."""

    etags: list[str] = field(default_factory=list)
    hash: "_Hash" = field(default_factory=hashlib.sha256)

    def copy(self) -> "PartsDigest":
        return PartsDigest(list(self.etags), self.hash.copy())


class UploadDigests:
    """What this process hashed of each open upload."""

    def __init__(self) -> None:
        self._digests: OrderedDict[str, PartsDigest] = OrderedDict()
        self._lock = threading.Lock()

    def before(self, upload_id: str, number: int) -> PartsDigest | None:
        """A digest to hash part `number` with, if all the parts before it came in turn."""
        with self._lock:
            known = self._digests.get(upload_id, PartsDigest())
            if number <= len(known.etags):
                # A part is replaced: what was hashed from it on is no longer what is stored.
                self._digests.pop(upload_id)
                known = PartsDigest()
            return known.copy() if number == len(known.etags) + 1 else None

    def keep(self, upload_id: str, digest: PartsDigest | None, part: UploadPart) -> None:
        """Remember a digest that the part was hashed with, once the part is stored."""
        if digest is None:
            return
        digest.etags.append(part.etag)
        with self._lock:
            self._digests[upload_id] = digest
            self._digests.move_to_end(upload_id)
            while len(self._digests) > _MAX_UPLOADS:
                self._digests.popitem(last=False)

    def of(self, upload_id: str, parts: Sequence[UploadPart]) -> tuple["_Hash", int]:
        """The hash of as many of the first parts as are known, and their size in bytes."""
        with self._lock:
            known = self._digests.get(upload_id, PartsDigest()).copy()
        etags = [part.etag for part in parts]
        # Another process may have replaced a part since: the etags say which bytes were hashed.
        if known.etags != etags[: len(known.etags)]:
            return hashlib.sha256(), 0
        return known.hash, sum(part.size_bytes for part in parts[: len(known.etags)])

    def forget(self, upload_id: str) -> None:
        with self._lock:
            self._digests.pop(upload_id, None)
