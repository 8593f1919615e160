"""`python -m tests.support.killed_loaders HOW FOLDER`: a training one of whose loader processes is killed.

HOW: `kernel`, which counts the kill; `otherwise`; `computing`, by the kernel while the training asks for no
batch. Writes how that was told, as JSON. A process of its own: torch raises from a signal's handler, wherever
the process is then.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from tuneyard.trainer.cgroup import OutOfMemoryKills
from tuneyard.trainer.errors import RecipeError
from tuneyard.vision.loader_processes import failures_told


class Kernel(OutOfMemoryKills):
    """Counts kills in a file."""

    def __init__(self, folder: Path) -> None:
        self.events = folder / "memory.events"
        self.events.write_text("oom_kill 3\n")
        membership = folder / "cgroup"
        membership.write_text("0::/\n")
        super().__init__(root=folder, membership=membership)


class Killed(Dataset[int]):
    """The process that is to prepare the third sample is killed."""

    def __init__(self, kernel: Kernel, *, counts: bool) -> None:
        self._events, self._counts = kernel.events, counts

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        if index == 2:
            if self._counts:
                self._events.write_text("oom_kill 4\n")
            os.kill(os.getpid(), signal.SIGKILL)
        return index


def train(how: str, kernel: Kernel) -> None:
    dataset = Killed(kernel, counts=how != "otherwise")
    batches = iter(DataLoader(dataset, num_workers=2, multiprocessing_context="fork"))
    next(batches)
    deadline = time.monotonic() + 60
    while how == "computing" and time.monotonic() < deadline:
        torch.ones(10).sum()
    for _ in batches:
        pass


def main(how: str, folder: Path) -> None:
    kernel = Kernel(folder)
    try:
        with failures_told(kernel):
            train(how, kernel)
    except RecipeError as error:
        told = {"reason": error.reason, "retryable": error.retryable, "remedies": list(error.remedies)}
        sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
