"""What tensors a folder of safetensors files holds, from the headers alone: nothing of the weights is read.

Verified is that each tensor is there once and that no file is cut off; whether they fit a model is not
judged here. No torch.
"""

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.safe_json import read_json, refused

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARD_BYTES = 5 * 10**9
"""The largest shard that is written, as transformers has it."""

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.safetensors")
_DTYPE_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
    "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "U32": 4, "U64": 8,
}  # fmt: skip
_LARGEST_HEADER_BYTES = 100_000_000
"""The bound of the library that reads the files."""
_NAMED = 3


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor in a file."""

    name: str
    file: str
    dtype: str
    """As safetensors names it: "BF16"."""
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * _DTYPE_BYTES[self.dtype]


@dataclass(frozen=True)
class WeightsIndex:
    """Every tensor of a model, in the order of the files and of the names in them."""

    tensors: Mapping[str, StoredTensor]

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(tensor.file for tensor in self.tensors.values()))

    @property
    def size_bytes(self) -> int:
        return sum(tensor.size_bytes for tensor in self.tensors.values())

    @property
    def dtype(self) -> str:
        """The number format that most of the bytes have."""
        by_dtype: dict[str, int] = {}
        for tensor in self.tensors.values():
            by_dtype[tensor.dtype] = by_dtype.get(tensor.dtype, 0) + tensor.size_bytes
        return max(by_dtype, key=lambda dtype: by_dtype[dtype], default="")


def read_index(folder: Path) -> WeightsIndex:
    """The tensors of `model.safetensors`, or of the shards that the index names.

    Raises RecipeError BASE_MODEL_UNAVAILABLE with what is missing, doubled or cut off.
    """
    if (folder / SINGLE).is_file():
        return WeightsIndex(read_header(folder / SINGLE))
    if not (folder / INDEX).is_file():
        raise _damaged(f"There is neither {SINGLE} nor {INDEX}.")
    wanted = _weight_map(folder / INDEX)
    found: dict[str, StoredTensor] = {}
    for file in sorted(set(wanted.values())):
        path = folder / file
        if not path.is_file():
            raise _damaged(f"{INDEX} names {file}, which is not there.")
        for name, tensor in read_header(path).items():
            if name in found:
                raise _damaged(f"{name} is in {found[name].file} and in {file}.")
            found[name] = tensor
    if misplaced := [name for name, file in wanted.items() if name not in found or found[name].file != file]:
        raise _damaged(f"{_some(misplaced)} not where {INDEX} says.")
    if extra := [name for name in found if name not in wanted]:
        raise _damaged(f"{_some(extra)} in the shards, and {INDEX} does not know of it.")
    return WeightsIndex(found)


def read_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of one file; raises RecipeError BASE_MODEL_UNAVAILABLE where it is damaged."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _LARGEST_HEADER_BYTES:
                raise ValueError("no header is as long")
            entries = json.loads(file.read(length))
        tensors = {
            name: _tensor(name, path.name, entry) for name, entry in entries.items() if name[:2] != "__"
        }
        end = max(
            (entry["data_offsets"][1] for name, entry in entries.items() if name[:2] != "__"), default=0
        )
    except (OSError, struct.error, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _damaged(f"{path.name} is no file of safetensors, or its beginning is damaged.") from error
    missing = 8 + length + end - path.stat().st_size
    if missing:
        raise _damaged(f"{path.name} is {abs(missing)} bytes too {'short' if missing > 0 else 'long'}.")
    return tensors


def write_index(folder: Path, weight_map: Mapping[str, str], *, size_bytes: int) -> Path:
    """Writes the index of sharded weights as transformers does."""
    path = folder / INDEX
    content = {"metadata": {"total_size": size_bytes}, "weight_map": dict(sorted(weight_map.items()))}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def _weight_map(path: Path) -> dict[str, str]:
    found = read_json(path).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise _damaged(f"{path.name} has no weight_map.")
    wanted = {str(name): str(file) for name, file in found.items()}
    if strange := [file for file in wanted.values() if not _FILE_NAME.fullmatch(file)]:
        raise _damaged(f"{path.name} names {strange[0]!r}, which is no name of a shard.")
    return wanted


def _tensor(name: str, file: str, entry: Mapping[str, Any]) -> StoredTensor:
    begin, end = entry["data_offsets"]
    tensor = StoredTensor(name, file, entry["dtype"], tuple(int(size) for size in entry["shape"]))
    if begin < 0 or end - begin != tensor.size_bytes:
        raise ValueError("a tensor's place does not have its size")
    return tensor


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more} {'are' if len(names) > 1 else 'is'}"


def _damaged(what: str) -> RecipeError:
    return refused(
        f"The weights are incomplete: {what}",
        "Import the whole folder again, as it was published.",
        reason="BASE_MODEL_UNAVAILABLE",
    )
