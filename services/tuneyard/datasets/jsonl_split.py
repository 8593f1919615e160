"""Divides the examples of a JSONL dataset into training and validation: seeded, and free of leaks.

For datasets that bring no validation split of their own. Which side an example is on follows from its content
and the seed, so that it stays there when the dataset grows or its lines are put in another order.
"""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tuneyard.datasets.jsonl import JsonlIndex
from tuneyard.datasets.jsonl_duplicates import NearDuplicates, copies, groups
from tuneyard.datasets.progress import Cancelled, Progress, ProgressCallback

_EXAMPLES_BETWEEN_PROGRESS = 2000
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Divided:
    """Positions in an index, each ascending."""

    train: Sequence[int]
    val: Sequence[int]


def similar_groups(
    index: JsonlIndex,
    *,
    progress: ProgressCallback | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Sequence[int]:
    """For each example the first position of its group: its copies and near copies, and theirs.

    Reads every example once; raises `Cancelled`.
    """
    import numpy as np

    near = NearDuplicates()
    for position in range(len(index)):
        if position % _EXAMPLES_BETWEEN_PROGRESS == 0:
            if should_stop():
                raise Cancelled
            if progress is not None:
                progress(Progress(stage="grouping examples", done=position, total=len(index)))
        near.add(position, index[position].messages)
    pairs = np.concatenate([copies(index.digests), near.find().pairs])
    return array("Q", groups(len(index), pairs).tolist())


def split(
    index: JsonlIndex, *, validation_share: float, seed: int, groups: Sequence[int] | None = None
) -> Divided:
    """Divides the examples of "train"; those of one group, by default copies, stay on one side.

    About `validation_share` (0 < s < 1; 0.10 to 0.20 is usual) of them is for validation, at least one
    group and never all. Raises ValueError.
    """
    if not 0 < validation_share < 1:
        raise ValueError(f"validation_share must lie between 0 and 1, not {validation_share}")
    keys = index.digests if groups is None else groups
    members: dict[int, list[int]] = {}
    for position in index.splits.get("train", ()):
        members.setdefault(keys[position], []).append(position)
    if len(members) < 2:
        raise ValueError("a split needs at least two different examples")
    total = sum(map(len, members.values()))
    chosen = _choose(index, list(members.values()), max(round(validation_share * total), 1), seed)
    in_val = bytearray(len(index))
    for position in chosen:
        in_val[position] = 1
    train = array("Q", [position for position in index.splits["train"] if not in_val[position]])
    return Divided(train=train, val=array("Q", sorted(chosen)))


def _choose(index: JsonlIndex, members: list[list[int]], target: int, seed: int) -> list[int]:
    """Examples of groups drawn at random, as many as the target or a few less."""
    # A group's draw is that of its smallest digest, so that it does not depend on the order of the lines.
    draws = [_mix(min(index.digests[each] for each in group) ^ _mix(seed & _MASK)) for group in members]
    chosen: list[int] = []
    for number in sorted(range(len(members)), key=draws.__getitem__):
        if len(chosen) + len(members[number]) <= target:
            chosen.extend(members[number])
        if len(chosen) == target:
            break
    # Where no group is as small as the target, the smallest one comes nearest to it.
    return chosen or min(members, key=len)


def _mix(value: int) -> int:
    """The finalizer of SplitMix64: every bit of the value moves every bit of the result."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
