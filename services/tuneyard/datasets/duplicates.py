"""Copies and near copies of images: where they lie, and the groups that a split keeps together.

Which images are nearly alike is found elsewhere; here it is judged by splits and labels.
"""

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tuneyard.datasets.codes import Code
from tuneyard.datasets.report import FindingLog
from tuneyard.datasets.source import Source

MAX_CONTRADICTING_SHARE = 0.05
"""Above this share of files that lie in several classes the labels are refused; below, findings name them."""

_NONE = -1
_SPLIT_ORDER = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Placed:
    """A file, the number of its content, and where it lies; `label` is None in formats without classes."""

    name: str
    content: int
    split: str
    label: str | None


@dataclass(frozen=True, slots=True)
class NearCopies:
    """Names of two images that are nearly alike; `mirrored`: one is like the mirror image of the other."""

    one: str
    other: str
    mirrored: bool = False


@dataclass(frozen=True)
class Copies:
    """What was found of copies."""

    count: int
    """How many files are exact copies of another one."""
    near: tuple[tuple[int, int], ...]
    """Numbers of images that are nearly alike, enough pairs to join each group of them."""


def content_groups(source: Source, names: Sequence[str]) -> list[int]:
    """For each file the number of its group; files share a group exactly if their bytes are equal."""
    groups: dict[bytes, int] = {}
    return [groups.setdefault(_digest(source, name), len(groups)) for name in names]


def likeness_groups(contents: Sequence[int], near: Iterable[tuple[int, int]]) -> Sequence[int]:
    """For each image the number of its group, copies and near copies joined, from 0 in their order.

    `contents` are numbers that equal images share; images with a negative one are left out, and so are pairs
    in `near` that name such an image.
    """
    roots: dict[int, int] = {}

    def root(content: int) -> int:
        while (above := roots.get(content, content)) != content:
            roots[content] = content = roots.get(above, above)
        return content

    for one, other in near:
        if contents[one] >= 0 and contents[other] >= 0:
            roots[root(contents[one])] = root(contents[other])
    numbers = array("i", [_NONE]) * (max(contents, default=-1) + 1)
    groups, count = array("i"), 0
    for content in contents:
        if content < 0:
            continue
        key = root(content)
        if numbers[key] == _NONE:
            numbers[key] = count
            count += 1
        groups.append(numbers[key])
    return groups


def splittable(labels: Sequence[int], groups: Sequence[int]) -> dict[int, bool]:
    """For each label, whether it has two groups of its own: one to train on, one to validate with.

    Groups are numbered from 0, as `likeness_groups` does it.
    """
    owners: list[int | None] = [None] * (max(groups, default=-1) + 1)
    shared = bytearray(len(owners))
    for label, group in zip(labels, groups, strict=True):
        shared[group] |= owners[group] not in (None, label)
        owners[group] = label
    # A group of several labels contradicts itself: it is never used for validation.
    own = Counter(owner for owner, is_shared in zip(owners, shared, strict=True) if not is_shared)
    return {label: own[label] >= 2 for label in set(labels)}


def note_duplicates(log: FindingLog, placed: Iterable[Placed], *, total: int) -> int:
    """Adds a finding for each copy, beside the first file of its content; returns the number of copies.

    The first one is the one in train/, so that a copy in val/ or test/ is the one that is named. `placed` are
    the files of which there are copies, at least; `total` counts the others too.
    """
    first: dict[int, Placed] = {}
    copies, contradicting = 0, 0
    for item in sorted(placed, key=_order):
        original = first.setdefault(item.content, item)
        if original is item:
            continue
        copies += 1
        seen = f"{item.name!r} is the same file as {original.name!r}"
        figures: dict[str, object] = {
            "other": original.name,
            "split": item.split,
            "other_split": original.split,
        }
        if item.split != original.split:
            log.add(
                Code.DUPLICATE_ACROSS_SPLITS,
                f"{seen}: {_splits(item, original)}.",
                path=item.name,
                figures=figures,
            )
        if item.label != original.label:
            contradicting += 1
            figures |= {"class": item.label, "other_class": original.label}
            log.add(
                Code.DUPLICATE_IN_CLASSES,
                f"{seen}: {_labels(item, original)}.",
                path=item.name,
                figures=figures,
            )
        if (item.split, item.label) == (original.split, original.label):
            log.add(Code.DUPLICATE_IMAGE, f"{seen}.", path=item.name, figures=figures)
    if contradicting > MAX_CONTRADICTING_SHARE * total:
        seen = f"{contradicting} of {total} images are the same file as one of another class;"
        log.add(Code.LABELS_CONTRADICT, f"{seen} {MAX_CONTRADICTING_SHARE:.0%} may be so.")
    return copies


def note_near_duplicates(log: FindingLog, placed: Iterable[Placed], near: Iterable[NearCopies]) -> None:
    """Adds a finding for each image that is nearly like an earlier one, beside the nearest to name.

    That is one that it was compared with, else the first of the group that both belong to.
    """
    beside: dict[str, list[str]] = {}
    mirrored = set[tuple[str, str]]()
    for each in near:
        for pair in ((each.one, each.other), (each.other, each.one)):
            beside.setdefault(pair[0], []).append(pair[1])
            if each.mirrored:
                mirrored.add(pair)
    places = {item.name: item for item in placed if item.name in beside}
    for group in _connected(beside):
        found = sorted((places[name] for name in group if name in places), key=_order)
        for item in found[1:]:
            compared = [places[name] for name in beside[item.name] if name in places]
            earlier = min(
                (each for each in compared if _order(each) < _order(item)), default=found[0], key=_order
            )
            how = "the mirror image of " if (item.name, earlier.name) in mirrored else ""
            seen = f"{item.name!r} looks almost like {how}{earlier.name!r}"
            if item.split != earlier.split:
                text = f"{seen}: {_splits(item, earlier)}."
                log.add(Code.NEAR_DUPLICATE_ACROSS_SPLITS, text, path=item.name)
            if item.label != earlier.label:
                log.add(Code.NEAR_DUPLICATE_IN_CLASSES, f"{seen}: {_labels(item, earlier)}.", path=item.name)
            if (item.split, item.label) == (earlier.split, earlier.label):
                log.add(Code.NEAR_DUPLICATE_IMAGE, f"{seen}.", path=item.name)


def _connected(beside: Mapping[str, Sequence[str]]) -> Iterable[set[str]]:
    left = set(beside)
    while left:
        group, pending = set[str](), [left.pop()]
        while pending:
            name = pending.pop()
            group.add(name)
            pending.extend(other for other in beside[name] if other not in group)
        left -= group
        yield group


def _order(item: Placed) -> tuple[int, str]:
    return _SPLIT_ORDER.index(item.split), item.name


def _splits(item: Placed, original: Placed) -> str:
    return f"one is in {item.split}, one in {original.split}"


def _labels(item: Placed, original: Placed) -> str:
    return f"one is of class {item.label!r}, one of class {original.label!r}"


def _digest(source: Source, name: str) -> bytes:
    digest = hashlib.sha256()
    for chunk in source.chunks(name):
        digest.update(chunk)
    return digest.digest()
