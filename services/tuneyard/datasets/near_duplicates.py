"""Finds pictures that are nearly alike: re-encoded, scaled, brightened, slightly cropped or mirrored copies.

Hashes find candidates, thumbnails decide. The thresholds were chosen so that scans of different digits and
drawings of equal shapes at different places are not taken for copies. Mirrored copies are looked for among
photographs only (see `Appearance.mirrored_hash`).
"""

from array import array
from collections.abc import Callable, Iterator
from tempfile import TemporaryFile
from typing import IO, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuneyard.datasets.appearance import GREY_TINT, RICH_TEXTURE, THUMB_SIDE, TINT_SIDE, Appearance

_MAX_DISTANCE: Final = 7
"""Bits of the hash. Four chunks of it cannot all differ in two bits then, which the search relies on."""
_MIN_CORRELATION: Final = 0.985
"""Of the thumbnails' detail. Different digits reach 0.976, a photograph saved again 0.99 and more."""
_MIN_RICH_CORRELATION: Final = 0.95
"""The same of pictures that are full of detail: different photographs stay below 0.86, and one that was
shifted by 2 % or turned by a degree reaches 0.96 to 0.97."""
_MIN_DETAIL: Final = 2.0
"""Levels of brightness: below, rounding decides what the detail is."""
_MAX_CONTRAST_RATIO: Final = 1.5
_MAX_LEVEL_DIFFERENCE: Final = 40.0
_MAX_TINT_DIFFERENCE: Final = 12

_CHUNKS: Final = 4
_CHUNK_BITS: Final = 16
_WINDOW: Final = 128
"""Of pictures that share a chunk, no more than these are compared with each, so that a hundred thousand of
one hash take seconds."""
_PORTIONS: Final = _CHUNKS * (_CHUNK_BITS + 1)
_BLOCK_PAIRS: Final = 4096

_WAITING_BYTES: Final = 1 << 20
"""Of thumbnails, until they are written to the file."""
_LOOK: Final = np.dtype(
    [("thumb", np.uint8, (THUMB_SIDE, THUMB_SIDE)), ("tint", np.int8, (TINT_SIDE, TINT_SIDE, 2))]
)

_Numbers = NDArray[np.int32]
_Portions = Iterator[Iterator[tuple[_Numbers, _Numbers]]]


class Pair(NamedTuple):
    """Numbers of two pictures that are nearly alike, the smaller one first."""

    one: int
    other: int
    mirrored: bool = False
    """Whether one looks like the mirror image of the other."""


class Pictures:
    """The appearances of many pictures, numbered in the order in which they were added.

    Some two dozen bytes of each stay in memory. Thumbnails and colours, which only candidates are judged by,
    go to a file without a name, or stay too where none can be written.
    """

    def __init__(self) -> None:
        self._hashes = array("Q")
        self._textures = array("f")
        self._mirrored = array("i")
        self._mirrored_hashes = array("Q")
        self._looks = _Looks()

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, picture: Appearance) -> None:
        """Adds one more."""
        if picture.mirrored_hash is not None:
            self._mirrored.append(len(self))
            self._mirrored_hashes.append(picture.mirrored_hash)
        self._hashes.append(picture.hash)
        self._textures.append(picture.texture)
        self._looks.add(picture.thumb + picture.tint)

    def alike(self, told: Callable[[int, int], None] = lambda done, total: None) -> list[Pair]:
        """Pairs of pictures that are nearly alike, ascending.

        They are a forest: of a group of pictures not every pair is among them, but what joins all of them.
        `told` hears how many of the search's steps are done.
        """
        hashes = np.frombuffer(self._hashes, dtype=np.uint64)
        looks = self._looks.read()
        forest = _Forest(len(hashes))
        searches = (
            (False, hashes, _candidates(hashes)),
            (True, *self._mirror_images(hashes)),
        )
        steps = len(searches) * _PORTIONS
        done = 0
        for mirrored, sought, portions in searches:
            for candidates in portions:
                for left, right in candidates:
                    near = np.bitwise_count(sought[left] ^ hashes[right]) <= _MAX_DISTANCE
                    self._judge(forest, looks, left[near], right[near], mirrored=mirrored)
                done += 1
                told(done, steps)
        return sorted(forest.edges)

    def _mirror_images(self, hashes: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], _Portions]:
        """By number the mirror images' hashes, and candidates: a mirror image, and what may look like it."""
        numbers = np.frombuffer(self._mirrored, dtype=np.int32)
        mirror_images = np.zeros_like(hashes)
        mirror_images[numbers] = np.frombuffer(self._mirrored_hashes, dtype=np.uint64)
        return mirror_images, _mirrored_candidates(hashes, numbers, mirror_images[numbers])

    def _judge(
        self, forest: "_Forest", looks: NDArray[np.void], left: _Numbers, right: _Numbers, *, mirrored: bool
    ) -> None:
        """Joins those candidates whose thumbnails agree."""
        textures = np.frombuffer(self._textures, dtype=np.float32)
        left, right = forest.apart(left, right)
        for start in range(0, len(left), _BLOCK_PAIRS):
            a, b = forest.apart(left[start : start + _BLOCK_PAIRS], right[start : start + _BLOCK_PAIRS])
            rich = np.minimum(textures[a], textures[b]) >= RICH_TEXTURE
            one, other = looks[a], looks[b]
            thumb, tint = one["thumb"], one["tint"]
            if mirrored:
                thumb, tint = thumb[:, :, ::-1], tint[:, :, ::-1]
            same = _same_detail(thumb, other["thumb"], rich) & _same_colour(tint, other["tint"])
            forest.join(a[same], b[same], mirrored=mirrored)


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
        self.edges: list[Pair] = []

    def apart(self, one: _Numbers, other: _Numbers) -> tuple[_Numbers, _Numbers]:
        """Those pairs that are not joined yet."""
        apart = self._parents[one] != self._parents[other]
        return one[apart], other[apart]

    def join(self, one: _Numbers, other: _Numbers, *, mirrored: bool) -> None:
        """Joins pairs that are alike."""
        parents = self._parents
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            first, second = sorted((_root(parents, a), _root(parents, b)))
            if first != second:
                parents[second] = first
                self.edges.append(Pair(min(a, b), max(a, b), mirrored))
        while len(one) and (self._parents != (above := self._parents[self._parents])).any():
            self._parents = above


def _root(parents: _Numbers, number: int) -> int:
    while parents[number] != number:
        number = int(parents[number])
    return number


def _candidates(hashes: NDArray[np.uint64]) -> _Portions:
    """Pairs whose hashes have an equal chunk, or one that differs in a single bit, in `_PORTIONS`."""
    for chunk in range(_CHUNKS):
        keys = _chunk(hashes, chunk)
        # Equal hashes lie side by side, where a window is too small for all that share the chunk.
        order = np.lexsort((hashes, keys)).astype(np.int32)
        ordered = keys[order]
        places = np.arange(len(order), dtype=np.int32)
        yield _windows(order, order, places + np.int32(1), _ends(ordered, ordered, "right"))
        for bit in range(_CHUNK_BITS):
            other = ordered | np.uint16(1 << bit)
            # Each pair is met once: from the key without the bit to the one with it.
            without = places[ordered != other]
            wanted = other[without]
            yield _windows(
                order, order[without], _ends(ordered, wanted, "left"), _ends(ordered, wanted, "right")
            )


def _mirrored_candidates(
    hashes: NDArray[np.uint64], numbers: _Numbers, mirror_images: NDArray[np.uint64]
) -> _Portions:
    """The same for the mirror images of some pictures beside all pictures, themselves left out later."""
    for chunk in range(_CHUNKS):
        keys = _chunk(hashes, chunk)
        order = np.lexsort((hashes, keys)).astype(np.int32)
        ordered = keys[order]
        sought = _chunk(mirror_images, chunk)
        for changed in (0, *(1 << bit for bit in range(_CHUNK_BITS))):
            wanted = sought ^ np.uint16(changed)
            yield _windows(order, numbers, _ends(ordered, wanted, "left"), _ends(ordered, wanted, "right"))


def _chunk(hashes: NDArray[np.uint64], chunk: int) -> NDArray[np.uint16]:
    return (hashes >> np.uint64(chunk * _CHUNK_BITS)).astype(np.uint16)


def _ends(
    ordered: NDArray[np.uint16], wanted: NDArray[np.uint16], side: Literal["left", "right"]
) -> _Numbers:
    return np.searchsorted(ordered, wanted, side=side).astype(np.int32)


def _windows(
    order: _Numbers, numbers: _Numbers, start: _Numbers, end: _Numbers
) -> Iterator[tuple[_Numbers, _Numbers]]:
    """Each number with the first one of its range in `order`, then with the second one, and so on."""
    for offset in range(_WINDOW):
        inside = start + offset < end
        if not inside.any():
            return
        numbers, start, end = numbers[inside], start[inside], end[inside]
        yield numbers, order[start + offset]


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
    close = np.abs(a - b).max(axis=(1, 2, 3)) <= _MAX_TINT_DIFFERENCE
    grey_a, grey_b = (np.abs(each).max(axis=(1, 2, 3)) <= GREY_TINT for each in (a, b))
    same: NDArray[np.bool_] = close | (grey_a != grey_b)
    return same
