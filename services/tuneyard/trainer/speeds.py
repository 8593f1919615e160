"""The small file in which a trainer keeps how much longer or shorter its runs took than was predicted.

What a prediction and its keys are is a family's own business. Imports no torch.
"""

import json
import os
from contextlib import suppress
from pathlib import Path

SPEEDS_FILE = "speeds.json"
_NEWEST_WEIGHT = 0.5
"""Of the newest run in the remembered ratio."""
_LEAST_SECONDS = 5.0
"""Shorter runs tell more of starting than of training."""


def read(path: Path) -> dict[str, float]:
    """The remembered ratios; none where there is no file, or it cannot be read."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        return {str(key): float(value) for key, value in json.loads(path.read_text()).items()}
    return {}


def remember(path: Path, key: str, *, measured_seconds: float, predicted_seconds: float) -> None:
    """Takes a finished run into account. Of two that end at once one may be lost, which does no harm."""
    if measured_seconds < _LEAST_SECONDS or predicted_seconds <= 0:
        return
    ratios = read(path)
    newest = measured_seconds / predicted_seconds
    before = ratios.get(key, newest)
    ratios[key] = _NEWEST_WEIGHT * newest + (1 - _NEWEST_WEIGHT) * before
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(OSError):
        temporary.write_text(json.dumps(ratios, indent=2))
        temporary.replace(path)
