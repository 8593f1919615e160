"""How much of the machine other programs took while something was measured."""

import os
import time
from contextlib import suppress
from pathlib import Path

import psutil

NOTICEABLE = 0.05
"""A share of all cores above which a measurement is marked."""


class Noise:
    """Begins where it is made. What ends without being waited for counts as foreign, even if it was ours."""

    def __init__(self) -> None:
        self._busy, self._own, self._at = _busy_seconds(), _own_seconds(), time.monotonic()

    @property
    def share(self) -> float:
        """The share of all cores that was neither idle nor ours; 0 where the system does not tell."""
        capacity = (time.monotonic() - self._at) * (os.cpu_count() or 1)
        foreign = (_busy_seconds() - self._busy) - (_own_seconds() - self._own)
        return min(1.0, max(0.0, foreign / capacity)) if capacity else 0.0


def _busy_seconds() -> float:
    """What all processes together have computed since the machine started."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    except OSError:
        return 0.0
    user, nice, system, _, _, interrupts, soft_interrupts, stolen = map(int, fields)
    ticks = user + nice + system + interrupts + soft_interrupts + stolen
    return float(ticks / os.sysconf("SC_CLK_TCK"))


def _own_seconds() -> float:
    """What this process and all below it have computed, living or waited for."""
    total = 0.0
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return float(total)
