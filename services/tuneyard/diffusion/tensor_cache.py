"""Tensors that are computed once and kept on disk by what they were computed from, shared by epochs and jobs.

What they mean, and what a key has to name, is their user's business.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from tuneyard.trainer.run import Run

_GROUPS = 64
"""Entries that one set of keys is spread over, by the keys alone: a job with one image more computes one
group again, and entries, each of which is locked while it is used, stay few."""
_FILE = "tensors.safetensors"


class TensorStore:
    """Tensors by key, read from the disk when asked for. May be shared by threads."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """`files` tells for each key's digest where its tensors are."""
        opened: dict[Path, Any] = {path: safe_open(path, framework="pt") for path in set(files.values())}
        self._files = {digest: opened[path] for digest, path in files.items()}
        self._names = {name for file in opened.values() for name in file.keys()}  # noqa: SIM118 - no mapping

    def __contains__(self, key: str) -> bool:
        return _digest(key) in self._files

    def get(self, key: str, name: str) -> Tensor | None:
        """One of the tensors of a key, None where it has none of that name. KeyError for other keys."""
        digest = _digest(key)
        file, whole = self._files[digest], f"{digest}.{name}"
        found: Tensor | None = file.get_tensor(whole) if whole in self._names else None
        return found


def keep_tensors(
    kind: str,
    keys: Iterable[str],
    compute: Callable[[str], Mapping[str, Tensor]],
    *,
    model: str,
    run: Run,
) -> TensorStore:
    """The tensors of all the keys; `compute` is called for those that are not in the trainer's cache.

    `kind` is that of the cache's entries; `model` must name all beside the key that a tensor depends on.
    Raises Stopped between two keys, RecipeError STORAGE_FULL, and whatever `compute` raises; finished groups
    are kept then.
    """
    groups: dict[int, dict[str, str]] = defaultdict(dict)
    for key in keys:
        digest = _digest(key)
        groups[int(digest[:8], 16) % _GROUPS][digest] = key
    files: dict[str, Path] = {}
    for _, members in sorted(groups.items()):
        name = hashlib.sha256("\n".join((model, *sorted(members))).encode()).hexdigest()
        folder = run.cached(kind, name, partial(_build, members, compute, run))
        files |= dict.fromkeys(members, folder / _FILE)
    return TensorStore(files)


def _build(
    members: Mapping[str, str], compute: Callable[[str], Mapping[str, Tensor]], run: Run, folder: Path
) -> None:
    tensors: dict[str, Tensor] = {}
    for digest, key in sorted(members.items()):
        run.check_stop()
        for name, value in compute(key).items():
            tensors[f"{digest}.{name}"] = value.detach().cpu().contiguous()
    save_file(tensors, folder / _FILE)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
