"""A worker in a process of its own, where the warm server does not fork it. It never imports grpc."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from tuneyard.trainer.hub_kernels import forbid_hub_kernels
from tuneyard.trainer.process import ParentGone, begin_worker
from tuneyard.trainer.settings import WorkerSettings


def run_in_own_process(run_worker: Callable[[Path], int]) -> NoReturn:
    """Runs what the one argument, the worker's folder, asks for, and exits; with 1 if the parent is gone."""
    code = _run(Path(sys.argv[1]), run_worker)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that still wait for a store must not keep the slot.
    os._exit(code)


def _run(folder: Path, run_worker: Callable[[Path], int]) -> int:
    settings = WorkerSettings.read(folder / "settings.json")
    try:
        begin_worker(settings.parent_pid or os.getppid())
    except ParentGone:
        return 1
    forbid_hub_kernels()
    return run_worker(folder)
