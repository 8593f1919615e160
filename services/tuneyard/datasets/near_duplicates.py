"""Finds pictures that are nearly alike: re-encoded, scaled, brightened or slightly cropped copies.

Hashes find candidates, thumbnails decide. The thresholds were chosen so that scans of different digits and
drawings of equal shapes at different places are not taken for copies.
"""

from array import array
from collections.abc import Callable, Iterator
from tempfile import TemporaryFile
from typing import IO, Final, Literal

import numpy as np
from numpy.typing import NDArray

from tuneyard.datasets.appearance import THUMB_SIDE, TINT_SIDE, Appearance

_MAX_DISTANCE: Final = 7
"""Bits of the hash. Four chunks of it cannot all differ in two bits then, which the search relies on."""
_MIN_CORRELATION: Final = 0.985
"""Of the thumbnails' detail. Different digits reach 0.976, a photograph saved again 0.99 and more."""
_MIN_RICH_CORRELATION: Final = 0.95
"""The same of pictures that are full of detail: different photographs stay below 0.86, and one that was
shifted by 2 % or turned by a degree reaches 0.96 to 0.97."""
_RICH_TEXTURE: Final = 0.4
_MIN_DETAIL: Final = 2.0
"""Levels of brightness: below, rounding decides what the detail is."""
_MAX_CONTRAST_RATIO: Final = 1.5
_MAX_LEVEL_DIFFERENCE: Final = 40.0
_MAX_TINT_DIFFERENCE: Final = 12
_GREY_TINT: Final = 3

_CHUNKS: Final = 4
_CHUNK_BITS: Final = 16
_WINDOW: Final = 128
"""Of pictures that share a chunk, no more than these are compared with each, so that a hundred thousand of
one hash take seconds."""
_BLOCK_PAIRS: Final = 4096

_WAITING_BYTES: Final = 1 << 20
"""Of thumbnails, until they are written to the file."""
_LOOK: Final = np.dtype(
    [("thumb", np.uint8, (THUMB_SIDE, THUMB_SIDE)), ("tint", np.int8, (2 * TINT_SIDE * TINT_SIDE,))]
)

_Numbers = NDArray[np.int32]


class Pictures:
    """The appearances of many pictures, numbered in the order in which they were added.

    A dozen bytes of each stay in memory. Thumbnails and colours, which only candidates are judged by, go to a
    file without a name, or stay too where none can be written.
    """

    def __init__(self) -> None:
        self._hashes = array("Q")
        self._textures = array("f")
        self._looks = _Looks()

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, picture: Appearance) -> None:
        """Adds one more."""
        self._hashes.append(picture.hash)
        self._textures.append(picture.texture)
        self._looks.add(picture.thumb + picture.tint)

    def alike(self, told: Callable[[int, int], None] = lambda done, total: None) -> list[tuple[int, int]]:
        """Pairs of numbers of pictures that are nearly alike, the smaller one first, ascending.

        They are a forest: of a group of pictures not every pair is among them, but what joins all of them.
        `told` hears how many of the search's steps are done.
        """
        hashes = np.frombuffer(self._hashes, dtype=np.uint64)
        looks = self._looks.read()
        textures = np.frombuffer(self._textures, dtype=np.float32)
        forest = _Forest(len(hashes))
        steps = _CHUNKS * (_CHUNK_BITS + 1)
        for done, candidates in enumerate(_candidates(hashes)):
            for left, right in candidates:
                near = np.bitwise_count(hashes[left] ^ hashes[right]) <= _MAX_DISTANCE
                one, other = forest.apart(left[near], right[near])
                for start in range(0, len(one), _BLOCK_PAIRS):
                    a, b = forest.apart(
                        one[start : start + _BLOCK_PAIRS], other[start : start + _BLOCK_PAIRS]
                    )
                    rich = np.minimum(textures[a], textures[b]) >= _RICH_TEXTURE
                    one_look, other_look = looks[a], looks[b]
                    same = _same_detail(one_look["thumb"], other_look["thumb"], rich)
                    same &= _same_colour(one_look["tint"], other_look["tint"])
                    forest.join(a[same], b[same])
            told(done + 1, steps)
        return sorted(forest.edges)


class _Looks:
    """Thumbnails and colours by number."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._written = 0
        self._file: IO[bytes] | None = None
        self._stays = False
        """Whether no file can be written, so that all is kept here."""

    def add(self, look: bytes) -> None:
        self._waiting += look
        if len(self._waiting) >= _WAITING_BYTES and not self._stays:
            self._write()

    def read(self) -> NDArray[np.void]:
        """All of them; what lies in the file is read from it when it is looked at."""
        if self._file is not None:
            self._write()
        if self._file is None or not self._written:
            return np.frombuffer(self._waiting, dtype=_LOOK)
        return np.memmap(self._file, dtype=_LOOK, mode="r", shape=(self._written // _LOOK.itemsize,))

    def _write(self) -> None:
        try:
            if self._file is None:
                self._file = TemporaryFile(prefix="tuneyard-check-", buffering=0)  # noqa: SIM115 - lives as long
            while self._waiting:
                done = self._file.write(self._waiting)
                self._written += done
                del self._waiting[:done]
        except OSError:
            # The disk is full, or this process may write no file as large: memory has to do.
            self._stays = True
            if self._file is not None:
                self._file.seek(0)
                self._waiting = bytearray(self._file.read(self._written)) + self._waiting
                self._file.close()
                self._file, self._written = None, 0


class _Forest:
    """Which pictures are joined, directly or through others, and by which pairs."""

    def __init__(self, count: int) -> None:
        self._parents = np.arange(count, dtype=np.int32)
        self.edges: list[tuple[int, int]] = []

    def apart(self, one: _Numbers, other: _Numbers) -> tuple[_Numbers, _Numbers]:
        """Those pairs that are not joined yet."""
        apart = self._parents[one] != self._parents[other]
        return one[apart], other[apart]

    def join(self, one: _Numbers, other: _Numbers) -> None:
        """Joins pairs that are alike."""
        parents = self._parents
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            first, second = sorted((_root(parents, a), _root(parents, b)))
            if first != second:
                parents[second] = first
                self.edges.append((min(a, b), max(a, b)))
        while len(one) and (self._parents != (above := self._parents[self._parents])).any():
            self._parents = above


def _root(parents: _Numbers, number: int) -> int:
    while parents[number] != number:
        number = int(parents[number])
    return number


def _candidates(hashes: NDArray[np.uint64]) -> Iterator[Iterator[tuple[_Numbers, _Numbers]]]:
    """Pairs whose hashes have an equal chunk, or one that differs in a single bit, in 68 portions."""
    for chunk in range(_CHUNKS):
        keys = (hashes >> np.uint64(chunk * _CHUNK_BITS)).astype(np.uint16)
        # Equal hashes lie side by side, where a window is too small for all that share the chunk.
        order = np.lexsort((hashes, keys)).astype(np.int32)
        ordered = keys[order]
        places = np.arange(len(order), dtype=np.int32)
        yield _windows(order, places, places + np.int32(1), _ends(ordered, ordered, "right"))
        for bit in range(_CHUNK_BITS):
            other = ordered | np.uint16(1 << bit)
            # Each pair is met once: from the key without the bit to the one with it.
            without = places[ordered != other]
            wanted = other[without]
            yield _windows(order, without, _ends(ordered, wanted, "left"), _ends(ordered, wanted, "right"))


def _ends(
    ordered: NDArray[np.uint16], wanted: NDArray[np.uint16], side: Literal["left", "right"]
) -> _Numbers:
    return np.searchsorted(ordered, wanted, side=side).astype(np.int32)


def _windows(
    order: _Numbers, places: _Numbers, start: _Numbers, end: _Numbers
) -> Iterator[tuple[_Numbers, _Numbers]]:
    """Each place with the first one of its range, then with the second one, and so on."""
    for offset in range(_WINDOW):
        inside = start + offset < end
        if not inside.any():
            return
        places, start, end = places[inside], start[inside], end[inside]
        yield order[places], order[start + offset]


def _same_detail(
    one: NDArray[np.uint8], other: NDArray[np.uint8], rich: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    a, b = one.astype(np.float32), other.astype(np.float32)
    level = np.abs(a.mean(axis=(1, 2)) - b.mean(axis=(1, 2)))
    a, b = _detail(a), _detail(b)
    strength_a, strength_b = (np.sqrt((each * each).mean(axis=(1, 2))) for each in (a, b))
    weaker, stronger = np.minimum(strength_a, strength_b), np.maximum(strength_a, strength_b)
    likeness = (a * b).mean(axis=(1, 2)) / np.maximum(strength_a * strength_b, 1e-6)
    same: NDArray[np.bool_] = (
        (weaker >= _MIN_DETAIL)
        & (stronger <= _MAX_CONTRAST_RATIO * weaker)
        & (level <= _MAX_LEVEL_DIFFERENCE)
        & (likeness >= np.where(rich, _MIN_RICH_CORRELATION, _MIN_CORRELATION))
    )
    return same


def _detail(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """What stands out from its surroundings: each value less the mean of the nine around it."""
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    means = (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9
    detail: NDArray[np.float32] = values - means
    detail -= detail.mean(axis=(1, 2), keepdims=True)
    return detail


def _same_colour(one: NDArray[np.int8], other: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Whether the colours are close, or one of the two is the other one in grey."""
    a, b = one.astype(np.int16), other.astype(np.int16)
    close = np.abs(a - b).max(axis=1) <= _MAX_TINT_DIFFERENCE
    grey_a, grey_b = (np.abs(each).max(axis=1) <= _GREY_TINT for each in (a, b))
    same: NDArray[np.bool_] = close | (grey_a != grey_b)
    return same
