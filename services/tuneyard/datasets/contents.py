"""Which files hold the same bytes, found out one file after the other in some thirty bytes of memory each.

Knows digests only; where copies lie and what that means is judged in `duplicates`.
"""

from array import array
from typing import Final

_DIGEST_BYTES: Final = 16
"""Half of a SHA-256: no two different files of any dataset share as much by accident."""
_FREE: Final = -1
_MAX_LOAD: Final = 0.6


class Contents:
    """Numbers contents, from 0 in the order in which they are first met."""

    def __init__(self) -> None:
        self._digests = bytearray()
        self._table = array("i", [_FREE]) * 1024

    def __len__(self) -> int:
        return len(self._digests) // _DIGEST_BYTES

    def number(self, digest: bytes) -> int:
        """The number of the content with this digest (SHA-256); the next one where it is new."""
        kept = digest[:_DIGEST_BYTES]
        place = self._place(kept)
        if self._table[place] == _FREE:
            if len(self) >= _MAX_LOAD * len(self._table):
                self._grow()
                place = self._place(kept)
            self._table[place] = len(self)
            self._digests += kept
        return self._table[place]

    def _place(self, kept: bytes) -> int:
        """Where the content stands in the table, or would have to stand."""
        last = len(self._table) - 1
        place = int.from_bytes(kept[:8]) & last
        while (number := self._table[place]) != _FREE and self._digest(number) != kept:
            place = (place + 1) & last
        return place

    def _digest(self, number: int) -> bytes:
        return bytes(self._digests[number * _DIGEST_BYTES : (number + 1) * _DIGEST_BYTES])

    def _grow(self) -> None:
        self._table = array("i", [_FREE]) * (2 * len(self._table))
        for number in range(len(self)):
            self._table[self._place(self._digest(number))] = number
