"""Finds what the paths in a data.yaml mean inside the dataset; nothing outside it is ever looked at.

A path is resolved against the dataset's own list of names, not against a file system.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from tuneyard.datasets.names import parents
from tuneyard.datasets.source import Source

_ROOTED = re.compile(r"^(/|~|[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]*://)")


class Written(Enum):
    """How a path was written."""

    INSIDE = "inside"
    """Relative, and found where it says."""
    ABSOLUTE = "absolute"
    """From the root of somebody's machine, or an address."""
    OUTSIDE = "outside"
    """It leads out of the dataset by `..`."""
    ELSEWHERE = "elsewhere"
    """Relative, and found in another place than it says."""


@dataclass(frozen=True)
class Place:
    """A file or folder of the dataset ("" is its root) and how the path to it was written."""

    name: str
    written: Written


class Paths:
    """The names of a dataset, for looking up paths that people wrote."""

    def __init__(self, source: Source) -> None:
        self._names = source.names()
        self._files = frozenset(self._names)
        self._folders = {"", *source.folders}
        for folder in {name.rpartition("/")[0] for name in self._names}:
            self._folders.update((folder, *parents(folder)))

    def folder(self, name: str) -> bool:
        """Whether there is such a folder."""
        return name in self._folders

    def below(self, folder: str) -> Sequence[str]:
        """All files in a folder and its folders, sorted."""
        if not folder:
            return self._names
        # "0" is the character after "/".
        return self._names[bisect_left(self._names, f"{folder}/") : bisect_left(self._names, f"{folder}0")]

    def written(self, text: str, *, base: str) -> Written:
        """How a path is written, by its form alone, seen from the folder `base`."""
        if is_rooted(text):
            return Written.ABSOLUTE
        return Written.OUTSIDE if _normal(base, text) is None else Written.INSIDE

    def find(self, text: str, *, bases: Sequence[str], folders: bool) -> Place | None:
        """The file, or with `folders` also the folder, that a path means; None where nothing fits.

        Relative paths are tried from each of `bases`. One that leads nowhere or away is shortened from the
        left until something of the dataset bears the name.
        """
        written = self.written(text, base=bases[0])
        if written is not Written.ABSOLUTE:
            for base in bases:
                name = _normal(base, text)
                if name is not None and self._exists(name, folders):
                    return Place(name, Written.INSIDE)
        parts = [part for part in _parts(text) if part != ".."]
        for start in range(len(parts)):
            name = "/".join(parts[start:])
            if self._exists(name, folders):
                return Place(name, Written.ELSEWHERE if written is Written.INSIDE else written)
        return None

    def _exists(self, name: str, folders: bool) -> bool:
        return name in self._files or (folders and name in self._folders)


def is_rooted(text: str) -> bool:
    """Whether a path starts at the root of a machine, or is an address."""
    return bool(_ROOTED.match(text.replace("\\", "/")))


def join(base: str, text: str) -> str:
    """A relative path below a base, both as written."""
    return f"{base}/{text}" if base else text


def _parts(text: str) -> list[str]:
    return [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]


def _normal(base: str, text: str) -> str | None:
    """The name that a relative path has from a folder, or None if it leads out of the dataset."""
    name = base.split("/") if base else []
    for part in _parts(text):
        if part != "..":
            name.append(part)
        elif name:
            name.pop()
        else:
            return None
    return "/".join(name)
