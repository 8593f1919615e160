"""Files of tensors that are artifacts: with words about them in the header, and the same bytes each time."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

_LENGTH = struct.Struct("<Q")


def save_described(tensors: Mapping[str, Tensor], path: Path, *, metadata: Mapping[str, str]) -> None:
    """Writes contiguous tensors as a safetensors file; `metadata` is what its header says of them.

    The library writes metadata in an order that is drawn anew each time, so that equal trainings would leave
    files with unequal hashes: here it is sorted.
    """
    save_file(dict(tensors), path, metadata=dict(metadata))
    with path.open("r+b") as file:
        (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) > length:
            raise ValueError("the header does not fit into its place")
        file.seek(_LENGTH.size)
        # The format lets a header end in spaces.
        file.write(text.ljust(length))
