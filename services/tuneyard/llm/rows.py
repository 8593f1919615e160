"""From tokenized samples to the rows that a model computes: packing, padding, targets, the samples' order.

Numbers only: neither a tokenizer nor torch is here. What a step learns from is its samples; how they are laid
out in rows changes speed and nothing else.
"""

import itertools
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IGNORED = -100
"""The target of a position without loss."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One tokenized example, cut to the maximum length."""

    ids: NDArray[np.int32]
    trained: NDArray[np.bool_]
    """For each token whether the model learns to write it; never the first, which nothing comes before."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of tokens that are computed at once: arrays of shape (rows, length), int64."""

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    """From 0 in each sample: a 0 begins a sample, and attention stays within it. Padding goes on where the
    row's last sample ends: causal attention keeps it from what is before, and rows of one sample each need
    no mask."""
    targets: NDArray[np.int64]
    """The token that follows, where it is of the same sample and trained on; elsewhere `IGNORED`."""
    samples: int
    """Real samples in the rows."""
    tokens: int
    """Real tokens in the rows, without padding."""
    trained_tokens: int
    """Targets that carry loss."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def length(self) -> int:
        """Tokens in each row, padding included."""
        return int(self.ids.shape[1])


def pack(
    samples: Sequence[Sample], *, max_length: int, packing: bool, pad_token: int, multiple: int = 64
) -> list[Rows]:
    """Lays samples out in single rows, the longest row first; without packing each has a row of its own.

    With packing (best-fit decreasing) there are as few rows as that finds, at most one a sample, and they are
    about equally long. Lengths are rounded up to a multiple, so that few shapes occur, but not beyond the
    maximum. The same samples make the same rows. Raises ValueError for an empty or too long sample.
    """
    lengths = [len(sample) for sample in samples]
    if any(not 0 < length <= max_length for length in lengths):
        raise ValueError(f"samples must have from 1 to {max_length} tokens")
    if packing:
        bins = _balanced_bins(lengths, max_length=max_length, multiple=multiple)
    else:
        bins = [[number] for number in range(len(samples))]
    # The sort is stable: equally long rows keep the order that the samples have.
    bins.sort(key=lambda numbers: -sum(lengths[number] for number in numbers))
    return [
        _row([samples[number] for number in numbers], max_length, pad_token=pad_token, multiple=multiple)
        for numbers in bins
    ]


def micro_batches(rows: Sequence[Rows], batch_size: int, *, pad_token: int) -> list[Rows]:
    """Joins neighbouring rows, at most `batch_size` at once, into micro-batches of about as many rows each.

    A micro-batch is as wide as its widest row.
    """
    if batch_size < 1:
        raise ValueError("batch_size must be at least 1")
    count = -(-len(rows) // batch_size)
    borders = [len(rows) * number // count for number in range(count + 1)] if count else [0]
    return [_joined(rows[start:stop], pad_token) for start, stop in itertools.pairwise(borders)]


class SampleOrder:
    """Which samples each step takes: every sample once an epoch, in a new random order each epoch.

    It follows from the seed and the step alone, so that a resumed run needs to know the step only. The last
    step of an epoch takes what is left.
    """

    def __init__(self, samples: int, *, samples_per_step: int, seed: int) -> None:
        if samples < 1 or samples_per_step < 1:
            raise ValueError("an order needs at least one sample, and one for each step")
        self.samples = samples
        self.samples_per_step = samples_per_step
        self._seed = seed
        self._epoch, self._permutation = -1, np.empty(0, dtype=np.int64)

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every sample is taken once."""
        return -(-self.samples // self.samples_per_step)

    def positions(self, step: int) -> NDArray[np.int64]:
        """The positions of the samples of a step, which counts from 1."""
        if step < 1:
            raise ValueError("steps count from 1")
        epoch, number = divmod(step - 1, self.steps_per_epoch)
        start = number * self.samples_per_step
        return self._order(epoch)[start : start + self.samples_per_step]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            generator = np.random.Generator(np.random.PCG64([abs(self._seed), epoch]))
            self._epoch, self._permutation = epoch, generator.permutation(self.samples)
        return self._permutation


def _balanced_bins(lengths: Sequence[int], *, max_length: int, multiple: int) -> list[list[int]]:
    """Best-fit decreasing into as few bins as the maximum length allows, in the narrowest that suffice.

    Narrower rows waste less: what rows of one micro-batch differ in is padding.
    """
    best = _best_fit(lengths, max_length)
    if len(best) < 2:
        return best
    least = max(*lengths, -(-sum(lengths) // len(best)))
    low, high = -(-least // multiple), -(-max_length // multiple)
    # The number of bins does not quite fall with every bit of width, but a narrow enough width is found.
    while low < high:
        middle = (low + high) // 2
        found = _best_fit(lengths, min(middle * multiple, max_length))
        if len(found) <= len(best):
            best, high = found, middle
        else:
            low = middle + 1
    return best


def _best_fit(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Each sample, from the longest, goes where it leaves the least room; the numbers in each bin."""
    bins: list[list[int]] = []
    room: list[tuple[int, int]] = []
    for number in sorted(range(len(lengths)), key=lambda number: (-lengths[number], number)):
        length = lengths[number]
        place = bisect_left(room, (length, -1))
        if place == len(room):
            bins.append([number])
            insort(room, (width - length, len(bins) - 1))
        else:
            left, chosen = room.pop(place)
            bins[chosen].append(number)
            insort(room, (left - length, chosen))
    return bins


def _row(samples: Sequence[Sample], max_length: int, *, pad_token: int, multiple: int) -> Rows:
    """One row with the samples one after another, and padding behind them."""
    tokens = sum(map(len, samples))
    width = min(-(-tokens // multiple) * multiple, max_length)
    ids = np.full((1, width), pad_token, dtype=np.int64)
    positions = np.empty((1, width), dtype=np.int64)
    targets = np.full((1, width), IGNORED, dtype=np.int64)
    start = 0
    for sample in samples:
        stop = start + len(sample)
        ids[0, start:stop] = sample.ids
        positions[0, start:] = np.arange(width - start)
        targets[0, start : stop - 1] = np.where(sample.trained[1:], sample.ids[1:], IGNORED)
        start = stop
    return Rows(ids, positions, targets, len(samples), tokens, int((targets != IGNORED).sum()))


def _joined(rows: Sequence[Rows], pad_token: int) -> Rows:
    width = max(row.length for row in rows)
    return Rows(
        ids=np.concatenate([_widened(row.ids, width, pad_token) for row in rows]),
        positions=np.concatenate([_longer(row.positions, width) for row in rows]),
        targets=np.concatenate([_widened(row.targets, width, IGNORED) for row in rows]),
        samples=sum(row.samples for row in rows),
        tokens=sum(row.tokens for row in rows),
        trained_tokens=sum(row.trained_tokens for row in rows),
    )


def _widened(values: NDArray[np.int64], width: int, value: int) -> NDArray[np.int64]:
    return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=value)


def _longer(positions: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Positions that go on counting in each row."""
    more = np.arange(1, width - positions.shape[1] + 1)
    return np.concatenate([positions, positions[:, -1:] + more], axis=1)
