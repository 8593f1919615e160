"""Exact copies of files: where they lie, and the groups that a split keeps together."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tuneyard.datasets.codes import Code
from tuneyard.datasets.report import FindingLog
from tuneyard.datasets.source import Source

_SPLIT_ORDER = ("train", "val", "test")


@dataclass(frozen=True)
class Placed:
    """A file's content (a digest) and where it lies; `label` is None in formats without classes."""

    name: str
    digest: bytes
    split: str
    label: str | None


def content_groups(source: Source, names: Sequence[str]) -> list[int]:
    """For each file the number of its group; files share a group exactly if their bytes are equal."""
    groups: dict[bytes, int] = {}
    return [groups.setdefault(_digest(source, name), len(groups)) for name in names]


def note_duplicates(log: FindingLog, placed: Iterable[Placed]) -> int:
    """Adds a finding for each copy, beside the first file of its content; returns the number of copies.

    The first one is the one in train/, so that a copy in val/ or test/ is the one that is named.
    """
    first: dict[bytes, Placed] = {}
    copies = 0
    for item in sorted(placed, key=lambda item: (_SPLIT_ORDER.index(item.split), item.name)):
        original = first.setdefault(item.digest, item)
        if original is item:
            continue
        copies += 1
        seen = f"{item.name!r} is the same file as {original.name!r}"
        if item.split != original.split:
            log.add(
                Code.DUPLICATE_ACROSS_SPLITS,
                f"{seen}: one is in {item.split}, one in {original.split}.",
                path=item.name,
            )
        if item.label != original.label:
            log.add(
                Code.DUPLICATE_IN_CLASSES,
                f"{seen}: one is of class {item.label!r}, one of class {original.label!r}.",
                path=item.name,
            )
        if (item.split, item.label) == (original.split, original.label):
            log.add(Code.DUPLICATE_IMAGE, f"{seen}.", path=item.name)
    return copies


def _digest(source: Source, name: str) -> bytes:
    digest = hashlib.sha256()
    for chunk in source.chunks(name):
        digest.update(chunk)
    return digest.digest()
