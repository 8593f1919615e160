"""Divides samples into training and validation, and picks subsets: stratified, seeded, and free of leaks.

Nothing here depends on Python's own random generator or hash, so that a seed means the same split everywhere.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence


def stratified_split(
    labels: Sequence[Hashable], groups: Sequence[Hashable] | None = None, *, val_fraction: float, seed: int
) -> tuple[list[int], list[int]]:
    """Indices of the training and of the validation samples, each ascending.

    Samples of one group (copies of one image) stay on one side. Every class with at least two groups of its
    own is on both sides; other classes are for training only. A group of several classes contradicts itself:
    it is used for training, never to judge a model. About `val_fraction` (0 < f < 1; 0.10 to 0.20 is
    usual) of each class is for validation. Raises ValueError.
    """
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction must lie between 0 and 1, not {val_fraction}")
    keys: Sequence[Hashable] = range(len(labels)) if groups is None else groups
    members: dict[Hashable, list[int]] = defaultdict(list)
    for position, key in zip(range(len(labels)), keys, strict=True):
        members[key].append(position)
    own: dict[Hashable, list[list[int]]] = {label: [] for label in labels}
    for group in members.values():
        if len({labels[position] for position in group}) == 1:
            own[labels[group[0]]].append(group)
    sizes = Counter(labels)
    val: list[int] = []
    for label, candidates in own.items():
        if len(candidates) > 1:
            val.extend(_choose(candidates, round(val_fraction * sizes[label]), seed))
    chosen = set(val)
    return [position for position in range(len(labels)) if position not in chosen], sorted(val)


def stratified_subset(labels: Sequence[Hashable], *, max_samples: int, seed: int) -> list[int]:
    """Ascending indices of at most `max_samples` samples, every class kept and in proportion.

    Raises ValueError if there are more classes than samples to keep.
    """
    if max_samples >= len(labels):
        return list(range(len(labels)))
    by_class: dict[Hashable, list[int]] = defaultdict(list)
    for position, label in enumerate(labels):
        by_class[label].append(position)
    if max_samples < len(by_class):
        raise ValueError(f"{max_samples} samples cannot hold one of each of the {len(by_class)} classes")
    kept: list[int] = []
    shares = _shares([len(positions) for positions in by_class.values()], max_samples)
    for positions, count in zip(by_class.values(), shares, strict=True):
        kept.extend(sorted(positions, key=lambda position: _draw(seed, position))[:count])
    return sorted(kept)


def _choose(groups: list[list[int]], target: int, seed: int) -> list[int]:
    """Samples of groups drawn at random up to `target`; at least one group, never all."""
    total = sum(map(len, groups))
    target = min(max(target, 1), total - 1)
    chosen: list[int] = []
    for group in sorted(groups, key=lambda group: _draw(seed, group[0])):
        if len(chosen) + len(group) <= target:
            chosen.extend(group)
    # Where no group is as small as the target, the smallest one comes nearest to it.
    return chosen or min(groups, key=len)


def _shares(sizes: list[int], max_samples: int) -> list[int]:
    """How many samples of each class to keep: one each, the rest in proportion by largest remainder."""
    rest, others = max_samples - len(sizes), sum(sizes) - len(sizes)
    divided = [divmod(rest * (size - 1), others) for size in sizes]
    shares = [1 + whole for whole, _ in divided]
    by_remainder = sorted(range(len(sizes)), key=lambda number: -divided[number][1])
    for number in by_remainder[: max_samples - sum(shares)]:
        shares[number] += 1
    return shares


def _draw(seed: int, position: int) -> bytes:
    return hashlib.sha256(f"{seed}:{position}".encode()).digest()
