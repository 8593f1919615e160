"""Divides images that hold several classes each into training and validation; seeded, and free of leaks.

After Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-label Data" (2011): the rarest class
still to be placed goes first, to the side that lacks it most. Looks at class numbers only.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence, Set

_BACKGROUND = -1


def stratified_by_presence(
    presence: Sequence[Set[int]], groups: Sequence[Hashable], *, val_fraction: float, seed: int
) -> tuple[list[int], list[int]]:
    """Indices of the training and of the validation images, each ascending.

    `presence` has the classes in each image, and is empty for a background; images of one group stay on one
    side. About `val_fraction` of each class's images are for validation. A class of two groups or more is on
    both sides wherever that does not take another class out of training, and a class of one group is for
    training. Raises ValueError.
    """
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction must lie between 0 and 1, not {val_fraction}")
    members: dict[Hashable, list[int]] = defaultdict(list)
    for position, key in zip(range(len(presence)), groups, strict=True):
        members[key].append(position)
    # The order of the draw, not that of the names, decides between groups that are equal otherwise.
    ordered = sorted(members.values(), key=lambda group: _draw(seed, group[0]))
    divider = _Divider([_contents(group, presence) for group in ordered], val_fraction)
    divider.divide()
    divider.repair()
    chosen = {position for number, group in enumerate(ordered) if number in divider.val for position in group}
    everything = range(len(presence))
    return [position for position in everything if position not in chosen], sorted(chosen)


class _Divider:
    """Places groups of images; `contents` has for each how many of its images hold each class."""

    def __init__(self, contents: Sequence[Counter[int]], val_fraction: float) -> None:
        self._contents = contents
        self._fraction = val_fraction
        self._holders: dict[int, list[int]] = defaultdict(list)
        for number, content in enumerate(contents):
            for label in content:
                self._holders[label].append(number)
        self.val: set[int] = set()
        """The numbers of the groups for validation."""

    def divide(self) -> None:
        """Places every group, those of the rarest class first."""
        lacking = {label: self._target(label) for label in self._holders}
        left = {label: len(holders) for label, holders in self._holders.items()}
        placed: set[int] = set()
        while left:
            label = min(left, key=lambda label: (left[label], label))
            for number in self._holders[label]:
                if number not in placed:
                    placed.add(number)
                    self._place(number, label, lacking)
                    for other in self._contents[number]:
                        left[other] -= 1
            left = {label: count for label, count in left.items() if count}

    def repair(self) -> None:
        """Returns a group of each class that training lost, then gives validation one that it misses."""
        for label in sorted(self._holders):
            if self.val.issuperset(self._holders[label]):
                self.val.remove(min(self._holders[label], key=self._size))
        for label in sorted(self._holders):
            if self.val.isdisjoint(self._holders[label]):
                spare = [number for number in self._holders[label] if self._can_be_spared(number)]
                if spare:
                    self.val.add(min(spare, key=self._size))

    def _target(self, label: int) -> int:
        holders = self._holders[label]
        images = sum(self._contents[number][label] for number in holders)
        return max(1, round(self._fraction * images)) if len(holders) > 1 else 0

    def _place(self, number: int, label: int, lacking: dict[int, int]) -> None:
        content = self._contents[number]
        # A group that is larger than what is lacking is taken if that comes nearer than leaving it.
        if content[label] < 2 * lacking[label]:
            self.val.add(number)
            for other, count in content.items():
                lacking[other] -= count

    def _can_be_spared(self, number: int) -> bool:
        """Whether every class of a group has another one in training."""
        return all(
            any(other != number and other not in self.val for other in self._holders[label])
            for label in self._contents[number]
        )

    def _size(self, number: int) -> int:
        return sum(self._contents[number].values())


def _contents(group: Sequence[int], presence: Sequence[Set[int]]) -> Counter[int]:
    return Counter(label for position in group for label in presence[position] or (_BACKGROUND,))


def _draw(seed: int, position: int) -> bytes:
    return hashlib.sha256(f"{seed}:{position}".encode()).digest()
