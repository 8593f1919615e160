"""Reads the rows and samples that a case of the language-model benchmark hands to everybody."""

from pathlib import Path
from typing import Any

import numpy as np


def packed_rows(folder: Path) -> list[list[dict[str, Any]]]:
    """The packed rows of each step: ids, positions and targets, each of shape (1, length)."""
    return _read(folder / "rows.npz")


def samples(folder: Path) -> list[list[dict[str, Any]]]:
    """The samples of each step: ids, and for each token whether it is trained on."""
    return _read(folder / "samples.npz")


def _read(path: Path) -> list[list[dict[str, Any]]]:
    found: dict[int, dict[int, dict[str, Any]]] = {}
    with np.load(path) as arrays:
        for name in arrays.files:
            step, number, field = name.split("-")
            found.setdefault(int(step), {}).setdefault(int(number), {})[field] = arrays[name]
    return [[found[step][number] for number in sorted(found[step])] for step in sorted(found)]
