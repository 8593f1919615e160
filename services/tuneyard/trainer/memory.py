"""Peak memory of this process: anonymous host memory and torch's device memory. It imports no torch."""

import sys
from dataclasses import dataclass
from pathlib import Path

_GROWTH = 1.05


@dataclass(frozen=True)
class Memory:
    """Memory in bytes."""

    host_bytes: int = 0
    """Anonymous memory: what the process needs, without mapped files, which the kernel can drop."""
    device_bytes: int = 0
    """The most that torch had allocated on the device at once."""


class PeakMemory:
    """The highest memory seen, and whether it is worth telling again."""

    def __init__(self) -> None:
        self._told = Memory()
        self._peak = Memory()

    def sample(self) -> Memory | None:
        """Measures; returns the peak where it grew by more than 5 % since it was last returned."""
        now = measure()
        self._peak = Memory(
            max(self._peak.host_bytes, now.host_bytes), max(self._peak.device_bytes, now.device_bytes)
        )
        grown = (
            self._peak.host_bytes > _GROWTH * self._told.host_bytes
            or self._peak.device_bytes > _GROWTH * self._told.device_bytes
        )
        if not grown:
            return None
        self._told = self._peak
        return self._peak


def measure() -> Memory:
    """This process's memory now; the device's part is the peak that torch itself keeps."""
    # A run that starts cold imports torch while it is measured: the module is there before all that is in it.
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    device_bytes = 0
    if cuda is not None and cuda.is_initialized():
        device_bytes = int(cuda.max_memory_allocated())
    return Memory(host_bytes=_anonymous_bytes(), device_bytes=device_bytes)


def _anonymous_bytes() -> int:
    # The kernel's own count. Walking all pages for it, as smaps_rollup does, holds up whoever allocates.
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0
