import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuneyard.trainer.errors import OUT_OF_MEMORY_REMEDIES, RecipeError
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.vision.loader_processes import affordable, failures_told, free_shared_memory_bytes

MIB = 1 << 20


def told(how: str, folder: Path) -> dict[str, Any]:
    """How a training tells of a loader process that was killed."""
    command = [sys.executable, "-m", "tests.support.killed_loaders", how, str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 0 and ran.stdout, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize("how", ["kernel", "computing"])
def test_a_process_that_the_kernel_killed_for_memory_is_told_as_that(tmp_path: Path, how: str) -> None:
    found = told(how, tmp_path)
    assert found["reason"] == "OUT_OF_MEMORY"
    assert found["remedies"][0] == OUT_OF_MEMORY_REMEDIES[0]
    assert any("data_loader_workers" in remedy for remedy in found["remedies"])


def test_a_process_that_was_killed_otherwise_may_be_tried_again(tmp_path: Path) -> None:
    found = told("otherwise", tmp_path)
    assert (found["reason"], found["retryable"]) == ("RECIPE_FAILED", True)


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
    warned = run.all_of("warning")
    assert bool(warned) == (workers < 4)
    assert all("--shm-size" in each["message"] for each in warned)


def test_none_are_never_too_many(tmp_path: Path) -> None:
    run = FakeRun(root=tmp_path)
    assert affordable(0, batch_bytes=MIB, free_bytes=0, run=run) == 0
    assert not run.all_of("warning")


def test_shared_memory_that_is_not_there_is_not_judged(tmp_path: Path) -> None:
    assert free_shared_memory_bytes(tmp_path / "none") is None
    assert free_shared_memory_bytes(tmp_path)
