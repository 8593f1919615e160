"""Writes a model tensor by tensor into safetensors files of bounded size: no more than one is in memory.

The files are those that transformers reads: model.safetensors, or shards with their index.
"""

import json
import math
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tuneyard.llm.weights_index import SHARD_BYTES, SINGLE, write_index

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""By the names of safetensors."""
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_ALIGNMENT = 8


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """A tensor that is to be written."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def write_shards(
    folder: Path,
    tensors: Iterable[PlannedTensor],
    value_of: Callable[[str], Tensor],
    *,
    shard_bytes: int = SHARD_BYTES,
) -> list[Path]:
    """Asks for each value once, in order, and returns the files, the index last. Raises what `value_of` does.

    ValueError where a value is not as planned.
    """
    shards = _shared_out(tensors, shard_bytes)
    count = len(shards)
    files = [
        folder / (SINGLE if count == 1 else f"model-{number:05d}-of-{count:05d}.safetensors")
        for number in range(1, count + 1)
    ]
    for path, shard in zip(files, shards, strict=True):
        _write(path, shard, value_of)
    if count > 1:
        placed = {
            tensor.name: path.name for path, shard in zip(files, shards, strict=True) for tensor in shard
        }
        total = sum(tensor.size_bytes for shard in shards for tensor in shard)
        files.append(write_index(folder, placed, size_bytes=total))
    return files


def _shared_out(tensors: Iterable[PlannedTensor], shard_bytes: int) -> list[list[PlannedTensor]]:
    shards: list[list[PlannedTensor]] = [[]]
    size_bytes = 0
    for tensor in tensors:
        if shards[-1] and size_bytes + tensor.size_bytes > shard_bytes:
            shards.append([])
            size_bytes = 0
        shards[-1].append(tensor)
        size_bytes += tensor.size_bytes
    return shards


def _write(path: Path, shard: list[PlannedTensor], value_of: Callable[[str], Tensor]) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in shard:
        end = offset + tensor.size_bytes
        entry = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        header[tensor.name] = entry
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in shard:
            value = value_of(tensor.name)
            if value.dtype != tensor.dtype or tuple(value.shape) != tensor.shape:
                raise ValueError(f"{tensor.name} is not what was planned")
            # The bytes alone: NumPy has no bfloat16.
            flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            file.write(flat.numpy().data)
