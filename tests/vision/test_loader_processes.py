import os
import signal
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from tuneyard.trainer.cgroup import OutOfMemoryKills
from tuneyard.trainer.errors import OUT_OF_MEMORY_REMEDIES, RecipeError
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.vision.loader_processes import affordable, failures_told, free_shared_memory_bytes

MIB = 1 << 20


class Kernel(OutOfMemoryKills):
    """Counts kills in a file of the test's."""

    def __init__(self, folder: Path) -> None:
        self.events = folder / "memory.events"
        self.events.write_text("oom_kill 3\n")
        membership = folder / "cgroup"
        membership.write_text("0::/\n")
        super().__init__(root=folder, membership=membership)


class Killed(Dataset[int]):
    """The process that is to prepare the third sample is killed."""

    def __init__(self, kernel: Kernel, *, tells: bool) -> None:
        self._events, self._tells = kernel.events, tells

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        if index == 2:
            if self._tells:
                self._events.write_text("oom_kill 4\n")
            os.kill(os.getpid(), signal.SIGKILL)
        return index


def read_all(dataset: Dataset[int]) -> None:
    for _ in DataLoader(dataset, num_workers=2, multiprocessing_context="fork"):
        pass


def test_a_process_that_the_kernel_killed_for_memory_is_told_as_that(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    with pytest.raises(RecipeError) as failed, failures_told(kernel):
        read_all(Killed(kernel, tells=True))
    assert failed.value.reason == "OUT_OF_MEMORY"
    assert failed.value.remedies[0] == OUT_OF_MEMORY_REMEDIES[0]
    assert any("data_loader_workers" in remedy for remedy in failed.value.remedies)


def test_a_process_that_was_killed_otherwise_may_be_tried_again(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    with pytest.raises(RecipeError) as failed, failures_told(kernel):
        read_all(Killed(kernel, tells=False))
    assert (failed.value.reason, failed.value.retryable) == ("RECIPE_FAILED", True)


def test_a_kill_is_told_wherever_the_training_is(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    with pytest.raises(RecipeError) as failed, failures_told(kernel):
        loader = iter(DataLoader(Killed(kernel, tells=True), num_workers=2, multiprocessing_context="fork"))
        next(loader)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            torch.ones(10).sum()
        next(loader)
    assert failed.value.reason == "OUT_OF_MEMORY"


@pytest.mark.parametrize(
    "text",
    [
        "Caught RuntimeError in DataLoader worker process 0.\nRuntimeError: unable to allocate shared"
        " memory(shm) for file </torch_1_2_3>: No space left on device (28)",
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers"
        " are out of shared memory. Please try to raise your shared memory limit.",
    ],
)
def test_shared_memory_that_ran_out_is_told_as_that(text: str) -> None:
    with pytest.raises(RecipeError) as failed, failures_told():
        raise RuntimeError(text)
    assert failed.value.reason == "OUT_OF_MEMORY"
    assert "--shm-size" in failed.value.remedies[0]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Caught KeyError in DataLoader worker process 0."),
        RuntimeError("expected scalar type Float but found Half"),
        ValueError("shared memory"),
    ],
)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, failures_told():
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    ("free_bytes", "workers"),
    [(None, 4), (10_000 * MIB, 4), (100 * MIB, 4), (99 * MIB, 3), (64 * MIB, 2), (39 * MIB, 0), (0, 0)],
)
def test_as_many_processes_prepare_as_shared_memory_has_room_for(
    tmp_path: Path, free_bytes: int | None, workers: int
) -> None:
    run = FakeRun(root=tmp_path)
    assert affordable(4, batch_bytes=10 * MIB, free_bytes=free_bytes, run=run) == workers
    told = run.all_of("warning")
    assert bool(told) == (workers < 4)
    assert all("--shm-size" in each["message"] for each in told)


def test_none_are_never_too_many(tmp_path: Path) -> None:
    run = FakeRun(root=tmp_path)
    assert affordable(0, batch_bytes=MIB, free_bytes=0, run=run) == 0
    assert not run.all_of("warning")


def test_shared_memory_that_is_not_there_is_not_judged(tmp_path: Path) -> None:
    assert free_shared_memory_bytes(tmp_path / "none") is None
    assert free_shared_memory_bytes(tmp_path)
