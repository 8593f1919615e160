"""How the C library keeps what a training step frees, where the processor trains."""

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_NEVER: Final = 2**31 - 1
_LARGEST_KEPT_BYTES: Final = 32 << 20
"""glibc allows no more; larger blocks are mapped anew each time."""


def keep_freed_memory() -> None:
    """Has glibc keep what is freed, for the next step that needs as much.

    By default it gives memory at the heap's end back to the system, and each step gets it again page by
    page, filled with zeros: a seventh of the time of a small network's step. No effect with another C
    library.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
