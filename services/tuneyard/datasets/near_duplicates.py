"""Finds pictures that are nearly alike: re-encoded, scaled, brightened or slightly cropped copies.

Hashes find candidates, thumbnails decide. The thresholds were chosen so that scans of different digits and
drawings of equal shapes at different places are not taken for copies.
"""

from array import array
from collections.abc import Callable, Iterator
from typing import Final

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

_Numbers = NDArray[np.int64]


class Pictures:
    """The appearances of many pictures, numbered in the order in which they were added; 300 bytes each."""

    def __init__(self) -> None:
        self._hashes = array("Q")
        self._thumbs = bytearray()
        self._tints = bytearray()
        self._textures = array("f")

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, picture: Appearance) -> None:
        """Adds one more."""
        self._hashes.append(picture.hash)
        self._thumbs += picture.thumb
        self._tints += picture.tint
        self._textures.append(picture.texture)

    def alike(self, told: Callable[[int, int], None] = lambda done, total: None) -> list[tuple[int, int]]:
        """Pairs of numbers of pictures that are nearly alike, the smaller one first, ascending.

        They are a forest: of a group of pictures not every pair is among them, but what joins all of them.
        `told` hears how many of the search's steps are done.
        """
        hashes = np.frombuffer(self._hashes, dtype=np.uint64)
        thumbs = np.frombuffer(self._thumbs, dtype=np.uint8).reshape(-1, THUMB_SIDE, THUMB_SIDE)
        tints = np.frombuffer(self._tints, dtype=np.int8).reshape(-1, 2 * TINT_SIDE * TINT_SIDE)
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
                    same = _same_detail(thumbs[a], thumbs[b], rich) & _same_colour(tints[a], tints[b])
                    forest.join(a[same], b[same])
            told(done + 1, steps)
        return sorted(forest.edges)


class _Forest:
    """Which pictures are joined, directly or through others, and by which pairs."""

    def __init__(self, count: int) -> None:
        self._parents = np.arange(count, dtype=np.int64)
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
        keys = (hashes >> np.uint64(chunk * _CHUNK_BITS)) & np.uint64((1 << _CHUNK_BITS) - 1)
        # Equal hashes lie side by side, where a window is too small for all that share the chunk.
        order = np.lexsort((hashes, keys)).astype(np.int64)
        ordered = keys[order]
        places = np.arange(len(order), dtype=np.int64)
        yield _windows(order, places, places + 1, np.searchsorted(ordered, ordered, side="right"))
        for bit in range(_CHUNK_BITS):
            other = ordered | np.uint64(1 << bit)
            # Each pair is met once: from the key without the bit to the one with it.
            without = places[ordered != other]
            ends = [np.searchsorted(ordered, other[without], side=side) for side in ("left", "right")]
            yield _windows(order, without, *ends)


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
