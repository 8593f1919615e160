"""Processes that prepare batches: how many of them the machine has room for, and why one ended.

They pass batches on in shared memory, of which a container has 64 MB unless it is given more.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tuneyard.trainer.cgroup import OutOfMemoryKills
from tuneyard.trainer.errors import OUT_OF_MEMORY_REMEDIES, RecipeError
from tuneyard.trainer.oom import out_of_memory_error
from tuneyard.trainer.run import Run

SHARED_MEMORY: Final = Path("/dev/shm")
PREFETCHED_STEPS: Final = 2
"""Batches that each process has ready ahead."""
_HELD_STEPS: Final = 2
"""Those that the training has in hand, and that is being let go of."""
_MORE_SHARED_MEMORY: Final = (
    "Give a container more shared memory (`docker run --shm-size=2g`, or `--ipc=host`)."
)
_FEWER: Final = "Reduce data_loader_workers; with 0 the training process prepares batches itself."
_LOADER: Final = "DataLoader worker"
_ENDS: Final = ("exited unexpectedly", "is killed by signal")
_REMEDIES: Final = (OUT_OF_MEMORY_REMEDIES[0], "Reduce image_size.", _FEWER, "Use a smaller base model.")


def free_shared_memory_bytes(folder: Path = SHARED_MEMORY) -> int | None:
    """What batches can be put into now; None where that cannot be told."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def affordable(wanted: int, *, batch_bytes: int, free_bytes: int | None, run: Run) -> int:
    """As many processes as have room for their batches, `wanted` at most; that they are fewer is told."""
    if not wanted or free_bytes is None:
        return wanted
    possible = (free_bytes // batch_bytes - _HELD_STEPS) // PREFETCHED_STEPS
    workers = max(0, min(wanted, possible))
    if workers < wanted:
        needed = (wanted * PREFETCHED_STEPS + _HELD_STEPS) * batch_bytes
        run.warn(
            "little_shared_memory",
            f"{free_bytes >> 20} MiB of shared memory are free, and {wanted} processes that prepare batches"
            f" need {-(-needed >> 20)} MiB: {workers or 'none'} will. {_MORE_SHARED_MEMORY}",
        )
    return workers


@contextmanager
def failures_told(kills: OutOfMemoryKills | None = None) -> Iterator[None]:
    """Raises a RecipeError where such a process failed within.

    torch tells of one that was killed from a signal's handler: wherever the training is just then.
    """
    kills = kills or OutOfMemoryKills()
    before = kills.count()
    try:
        yield
    except RuntimeError as error:
        if _LOADER in str(error):
            _hear_of_no_more_ends()
        told = _described(str(error), lambda: kills.claim(since=before))
        if told is None:
            raise
        raise told from error


def _hear_of_no_more_ends() -> None:
    """torch's handler would raise the same again as each of the other processes ends."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _described(text: str, kernel_killed: Callable[[], bool]) -> RecipeError | None:
    if "shared memory" in text:
        message = "Shared memory ran out, in which processes pass on the batches that they prepare."
        return out_of_memory_error(message, remedies=(_MORE_SHARED_MEMORY, *_REMEDIES))
    if _LOADER not in text or not any(end in text for end in _ENDS):
        return None
    if kernel_killed():
        message = "The kernel killed a process that prepares batches: the machine's memory ran out."
        return out_of_memory_error(message, remedies=_REMEDIES)
    return RecipeError(
        "A process that prepares batches was killed, and nothing says by whom.",
        remedies=(_FEWER,),
        retryable=True,
    )
