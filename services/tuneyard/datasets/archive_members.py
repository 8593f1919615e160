"""Where the files of a ZIP archive lie in it, in some forty bytes of each beside its name."""

import zipfile
from array import array
from collections.abc import Mapping

from tuneyard.datasets.name_list import NameList

_NUMBERS = {
    "header_offset": "q",
    "compress_size": "Q",
    "file_size": "Q",
    "CRC": "I",
    "flag_bits": "H",
    "compress_type": "B",
}
"""What zipfile needs of an entry of the directory to read the file, with the types of arrays of it."""
_END = "_end_offset"
"""Where newer releases of zipfile expect the next file, and refuse one that reaches beyond; None before."""
_NO_END = 0
_MOST = (1 << 63) - 1
"""Beyond any file: a directory that says more is as wrong with it, and one that says less than 0 with -1."""


class Members:
    """The accepted files of an archive by the dataset's names of them."""

    def __init__(self, infos: Mapping[str, zipfile.ZipInfo]) -> None:
        """`infos` are sorted by name."""
        self.names = NameList(infos)
        self._numbers = {name: array(kind) for name, kind in _NUMBERS.items()}
        self._ends = array("Q")
        self._other_names: dict[int, str] = {}
        """As the archive writes them, where that is otherwise than its top folder and the dataset's name."""
        self._prefix = _prefix_of(infos)
        for position, (name, info) in enumerate(infos.items()):
            for fact, values in self._numbers.items():
                values.append(max(-1, min(getattr(info, fact), _MOST)))
            self._ends.append(max(_NO_END, min(getattr(info, _END, None) or _NO_END, _MOST)))
            if info.orig_filename != self._prefix + name:
                self._other_names[position] = info.orig_filename

    def size(self, name: str) -> int:
        """The inflated size in bytes that the directory claims. Raises KeyError."""
        return self._numbers["file_size"][self.names.position(name)]

    def info(self, name: str) -> zipfile.ZipInfo:
        """What zipfile opens the file by. Raises KeyError."""
        position = self.names.position(name)
        info = zipfile.ZipInfo(self._other_names.get(position, self._prefix + name))
        for fact, values in self._numbers.items():
            setattr(info, fact, values[position])
        if (end := self._ends[position]) != _NO_END:
            setattr(info, _END, end)
        return info


def _prefix_of(infos: Mapping[str, zipfile.ZipInfo]) -> str:
    """The top folder of the first file, which nearly always is that of all."""
    name, info = next(iter(infos.items()), ("", None))
    written = info.orig_filename if info else ""
    return written.removesuffix(name) if written.endswith(name) else ""
