"""Finds examples that are copies of each other, or nearly: MinHash over windows of eight bytes, with banding.

Memory is 128 bytes for each example, and time grows with their number only. numpy and rensa are imported when
used.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tuneyard.datasets.jsonl_rules import Message

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NEAR = 0.8
"""From this share of common windows (Jaccard) on, two examples are near duplicates."""
MAX_SEARCHED = 8_000_000
"""So many signatures take a gigabyte."""

_WINDOW_BYTES = 8
_MIN_BYTES = 80
"""Shorter texts resemble each other by chance."""
_MAX_BYTES = 1 << 16
"""Of longer texts the beginning is compared."""
_PERMUTATIONS = 128
_SEED = 42
_BATCH_BYTES = 1 << 20
_PAIRS_AT_ONCE = 1 << 16
_LOW_HALF = (1 << 32) - 1
# Windows in more than a tenth of the examples, and in so many, are a template's: they tell no two apart.
_TEMPLATE_SHARE = 0.1
_TEMPLATE_LEAST = 50


class Near(NamedTuple):
    """Pairs of near duplicates as rows (earlier, later), ascending by the later, then by the earlier one."""

    pairs: NDArray[np.int64]
    similarity: NDArray[np.float64]
    """The estimated share of what the two of a row have in common."""


class Similar(NamedTuple):
    """Two positions, the earlier one first, and the estimated share of what they have in common."""

    earlier: int
    later: int
    similarity: float


def copies(digests: Sequence[int]) -> NDArray[np.int64]:
    """Rows (first, copy) for each position whose digest came before, in the order of the copies."""
    import numpy as np

    if not digests:
        return np.empty((0, 2), dtype=np.int64)
    values = np.frombuffer(array("Q", digests), dtype=np.uint64)
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    begins = np.ones(len(ranked), dtype=bool)
    begins[1:] = ranked[1:] != ranked[:-1]
    first = order[np.maximum.accumulate(np.where(begins, np.arange(len(ranked)), 0))]
    pairs = np.stack([first[~begins], order[~begins]], axis=1)
    return pairs[np.argsort(pairs[:, 1])]


def closest(found: Near, *, apart_from: NDArray[np.int64]) -> list[Similar]:
    """For each later example of near duplicates one earlier one, apart from the copies among them."""
    import numpy as np

    known = np.isin(found.pairs, apart_from[:, 1]).any(axis=1)
    pairs, similarity = found.pairs[~known], found.similarity[~known]
    _, chosen = np.unique(pairs[:, 1], return_index=True)
    rows = zip(pairs[chosen].tolist(), similarity[chosen].tolist(), strict=True)
    return [Similar(earlier, later, share) for (earlier, later), share in rows]


class NearDuplicates:
    """Takes examples one by one, in the order of their positions, and then finds those that are alike."""

    def __init__(self, *, max_searched: int = MAX_SEARCHED) -> None:
        self._max_searched = max_searched
        self._waiting: list[bytes] = []
        self._waiting_positions: list[int] = []
        self._waiting_bytes = 0
        self._positions = array("Q")
        self._signatures = bytearray()
        self._template: NDArray[np.uint64] | None = None
        self.left_out = 0
        """How many examples were not looked at because there are too many."""
        self.template_only = 0
        """How many were not compared because all but a few words of them is a template's."""

    def add(self, position: int, messages: Sequence[Message]) -> None:
        """Notes what is said in an example; a system message says little about the example itself."""
        text = "\n".join([content for role, content in messages if role != "system"])
        data = " ".join(text[:_MAX_BYTES].lower().split()).encode()[:_MAX_BYTES]
        if len(data) < _MIN_BYTES:
            return
        if len(self._positions) + len(self._waiting) >= self._max_searched:
            self.left_out += 1
            return
        self._waiting.append(data)
        self._waiting_positions.append(position)
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= _BATCH_BYTES:
            self._sign()

    def find(self, progress: Callable[[int, int], None] | None = None) -> Near:
        """Pairs of near duplicates: enough of them to connect all that are alike.

        Every later example is paired with the earliest one that it shares a band with, and with the one just
        before it there, not with all.
        """
        import numpy as np

        self._sign()
        signatures = np.frombuffer(bytes(self._signatures), dtype=np.uint8).reshape(-1, _PERMUTATIONS)
        bands = signatures.view("<u8")
        found = [np.empty(0, dtype=np.int64)]
        for number in range(bands.shape[1]):
            keys = _pairs_in_band(bands[:, number])
            for start in range(0, len(keys), _PAIRS_AT_ONCE):
                some = keys[start : start + _PAIRS_AT_ONCE]
                found.append(some[_similarity(signatures, some) >= NEAR])
            if progress is not None:
                progress(number + 1, bands.shape[1])
        chosen = np.unique(np.concatenate(found))
        shares = [
            _similarity(signatures, chosen[start : start + _PAIRS_AT_ONCE])
            for start in range(0, len(chosen), _PAIRS_AT_ONCE)
        ]
        places = np.array(self._positions, dtype=np.int64)
        pairs = np.stack([places[chosen & _LOW_HALF], places[chosen >> 32]], axis=1)
        return Near(pairs, np.concatenate([np.empty(0), *shares]))

    def _sign(self) -> None:
        import numpy as np
        import rensa  # type: ignore[import-untyped]

        if not self._waiting:
            return
        hashes, lengths = _window_hashes(self._waiting)
        if self._template is None:
            # Many copies of one text are no template.
            self._template = _template_windows(*_window_hashes(list(dict.fromkeys(self._waiting))))
        if len(self._template):
            hashes, lengths = _without(hashes, lengths, self._template)
        kept = lengths > _MIN_BYTES // 2
        self.template_only += int((~kept).sum())
        hashes = hashes[np.repeat(kept, lengths)]
        offsets = np.concatenate([[0], lengths[kept].cumsum()]).astype(np.uint64)
        matrix: Any = rensa.RMinHash.digest_matrix_from_flat_token_hashes(
            hashes, offsets, _PERMUTATIONS, _SEED
        )
        rows = np.array(matrix.to_rows(), dtype=np.uint32).reshape(-1, _PERMUTATIONS)
        self._signatures += rows.astype(np.uint8).tobytes()
        self._positions.extend(np.array(self._waiting_positions, dtype=np.uint64)[kept].tolist())
        self._waiting, self._waiting_positions, self._waiting_bytes = [], [], 0


def groups(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each of `count` positions the first position of its group: those connected by pairs."""
    import numpy as np

    parents = np.arange(count)
    for one, other in pairs.tolist():
        low, high = sorted((_root(parents, one), _root(parents, other)))
        parents[high] = low
    while not np.array_equal(above := parents[parents], parents):
        parents = above
    return parents


def _root(parents: NDArray[np.int64], position: int) -> int:
    while (above := int(parents[position])) != position:
        parents[position] = parents[above]
        position = above
    return position


def _window_hashes(texts: Sequence[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The hashes of all windows of all texts, and how many each text has; texts hold a window at least."""
    import numpy as np

    flat = np.frombuffer(b"".join(texts), dtype=np.uint8)
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    windows = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(flat, _WINDOW_BYTES))
    hashes = windows.view("<u8")[:, 0] * np.uint64(0x9E3779B97F4A7C15)
    hashes ^= hashes >> np.uint64(32)
    inside = np.ones(len(flat), dtype=bool)
    ends = lengths.cumsum()
    for back in range(1, _WINDOW_BYTES):
        inside[ends - back] = False
    return hashes[inside[: len(hashes)]], lengths - (_WINDOW_BYTES - 1)


def _template_windows(hashes: NDArray[np.uint64], lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The hashes, sorted, that many of the texts have."""
    import numpy as np

    owners = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((owners, hashes))
    hashes, owners = hashes[order], owners[order]
    fresh = np.ones(len(hashes), dtype=bool)
    fresh[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    values, counts = np.unique(hashes[fresh], return_counts=True)
    return values[counts > max(_TEMPLATE_LEAST, _TEMPLATE_SHARE * len(lengths))]


def _without(
    hashes: NDArray[np.uint64], lengths: NDArray[np.int64], template: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    import numpy as np

    at = np.minimum(np.searchsorted(template, hashes), len(template) - 1)
    kept = template[at] != hashes
    starts = lengths.cumsum() - lengths
    return hashes[kept], np.add.reduceat(kept, starts, dtype=np.int64)


def _pairs_in_band(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Pairs of rows whose keys are equal: each row with the first of them, and with the one before.

    A pair is one number, the later row in its upper half and the earlier one in its lower half.
    """
    import numpy as np

    order = np.argsort(keys, kind="stable")
    ranked = keys[order]
    same = np.flatnonzero(ranked[1:] == ranked[:-1]) + 1
    begins = np.ones(len(ranked), dtype=bool)
    begins[same] = False
    first = np.maximum.accumulate(np.where(begins, np.arange(len(ranked)), 0))
    later = order[same] << 32
    return np.unique(np.concatenate([later | order[first[same]], later | order[same - 1]]))


def _similarity(signatures: NDArray[np.uint8], pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """The estimated Jaccard similarity of the two of each pair; see `_pairs_in_band`."""
    equal = (signatures[pairs & _LOW_HALF] == signatures[pairs >> 32]).mean(axis=1)
    # Bytes of different minima are equal once in 256 times.
    similarity: NDArray[np.float64] = (equal - 1 / 256) / (1 - 1 / 256)
    return similarity
