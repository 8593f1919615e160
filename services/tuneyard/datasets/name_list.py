"""Very many names in little memory: as one block of bytes, where objects would take four times as much.

Knows nothing of what the names are of.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import overload


class NameList(Sequence[str]):
    """Names in ascending order, each once."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """`names` are sorted; raises ValueError where they are not."""
        self._block = bytearray()
        self._ends = array("Q", (0,))
        self._skipped = 0
        for name in names:
            self._append(name)

    def _append(self, name: str) -> None:
        encoded = name.encode()
        # Bytes of UTF-8 sort as the characters do.
        if len(self) and encoded <= self._block[self._ends[-2] : self._ends[-1]]:
            raise ValueError(f"{name!r} does not come after the names before it")
        self._block += encoded
        self._ends.append(len(self._block))

    def below(self, prefix: str) -> "NameList":
        """The same names without the prefix that all of them have."""
        cut = NameList()
        cut._block, cut._ends = self._block, self._ends
        cut._skipped = self._skipped + len(prefix.encode())
        return cut

    def position(self, name: str) -> int:
        """Where the name stands; raises KeyError if it does not."""
        found = bisect_left(self, name)
        if found == len(self) or self[found] != name:
            raise KeyError(name)
        return found

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> list[str]: ...

    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        if at < 0:
            at += len(self)
        if not 0 <= at < len(self):
            raise IndexError(at)
        return self._block[self._ends[at] + self._skipped : self._ends[at + 1]].decode()

    def __iter__(self) -> Iterator[str]:
        return (self[at] for at in range(len(self)))

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        try:
            self.position(name)
        except KeyError:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(one == each for one, each in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"NameList({[*self]!r})"


class Picked(Sequence[str]):
    """Those of the names that have the given positions, in their order."""

    def __init__(self, names: Sequence[str], positions: Sequence[int]) -> None:
        self._names = names
        self._positions = positions

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> list[str]: ...

    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self._names[position] for position in self._positions[at]]
        return self._names[self._positions[at]]
