"""Where models are loaded, whom they make room for, and what happens when their processes end."""

import asyncio
import os
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from tests.support.fake_launcher import FakeLauncher
from tests.support.model_trainer import ModelTrainer, until_busy, until_gone
from tuneyard.trainer.launcher import ExecLauncher, LauncherLost, WorkerExit
from tuneyard.trainer.run_folder import RunKey
from tuneyard.v1.system_pb2 import SlotKind

DEVICE = SlotKind.SLOT_KIND_DEVICE
RUN = RunKey("jobs/run", 1)


async def test_an_unused_model_is_unloaded_and_the_next_call_loads_it_again(tmp_path: Path) -> None:
    trainer = ModelTrainer(tmp_path, idle=timedelta(seconds=0.05))
    await trainer.ask()
    await until_gone(trainer)
    assert trainer.slots.admit(object()) == "cpu"  # type: ignore[arg-type]
    trainer.slots.dismiss(trainer.slots._places[0].guest)  # type: ignore[arg-type]
    assert (await trainer.ask()).classifications
    assert trainer.launches == 2
    await trainer.models.close()


async def test_a_run_gets_the_device_and_the_caller_hears_why(trainer: ModelTrainer) -> None:
    asked = asyncio.create_task(trainer.refusal("a", "answer_ms=60000"))
    await until_busy(trainer)
    assert trainer.slots.acquire(DEVICE, RUN) == "cpu"
    guest = trainer.slots.guest_of(RUN)
    assert guest is not None
    await asyncio.wait_for(guest.leave(), timeout=30)
    error = await asked
    assert (error.reason, error.resource) == ("NO_FREE_SLOT", "jobs/a")
    assert error.retry_after is not None
    assert trainer.slots.guest_of(RUN) is None


async def test_a_model_that_is_still_loading_leaves_at_once_too(trainer: ModelTrainer) -> None:
    asked = asyncio.create_task(trainer.refusal("a", "load_ms=300"))
    async with asyncio.timeout(30):
        while not trainer.slots._places[0].guest:
            await asyncio.sleep(0)
    trainer.slots.acquire(DEVICE, RUN)
    await trainer.slots.guest_of(RUN).leave()  # type: ignore[union-attr]
    assert (await asked).reason == "NO_FREE_SLOT"


async def test_where_a_run_has_the_device_its_job_is_named(trainer: ModelTrainer) -> None:
    trainer.slots.acquire(DEVICE, RUN)
    error = await trainer.refusal()
    assert (error.reason, "cpu runs jobs/run" in error.message) == ("NO_FREE_SLOT", True)
    assert error.retry_after is not None
    trainer.slots.release(RUN)
    assert (await trainer.ask()).classifications


async def test_two_devices_hold_a_run_and_a_model(tmp_path: Path) -> None:
    trainer = ModelTrainer(tmp_path, devices=("cpu", "cpu"))
    trainer.slots.acquire(DEVICE, RUN)
    assert (await trainer.ask()).classifications
    await trainer.models.close()


async def test_the_model_unused_for_longest_makes_room_for_another(tmp_path: Path) -> None:
    trainer = ModelTrainer(tmp_path, devices=("cpu", "cpu"))
    for job in ("a", "b", "a", "c"):
        await trainer.ask(job)
    assert {model.job for model in trainer.models._seated} == {"jobs/a", "jobs/c"}
    await trainer.models.close()


async def test_a_model_at_work_makes_no_room(trainer: ModelTrainer) -> None:
    asked = asyncio.create_task(trainer.ask("a", "answer_ms=400"))
    await until_busy(trainer)
    error = await trainer.refusal("b")
    assert (error.reason, "jobs/a is being tried" in error.message) == ("NO_FREE_SLOT", True)
    assert (await asked).classifications


@pytest.mark.parametrize(
    ("exit", "reason"),
    [
        (WorkerExit(signal=9), "WORKER_KILLED"),
        (WorkerExit(signal=9, out_of_memory=True), "OUT_OF_MEMORY"),
        (WorkerExit(exit_code=1), "WORKER_CRASHED"),
        (WorkerExit(lost=True), "TRAINER_UNAVAILABLE"),
    ],
)
async def test_a_process_that_ends_is_told_and_started_anew(
    tmp_path: Path, exit: WorkerExit, reason: str
) -> None:
    launcher = FakeLauncher()
    trainer = ModelTrainer(tmp_path, launcher=launcher)
    for _ in range(2):
        asked = asyncio.create_task(trainer.refusal())
        (await launcher.launched()).end(exit)
        assert (await asked).reason == reason


async def test_a_launch_that_fails_leaves_the_device_free(tmp_path: Path) -> None:
    launcher = FakeLauncher()
    launcher.failures.append(LauncherLost("gone"))
    trainer = ModelTrainer(tmp_path, launcher=launcher)
    error = await trainer.refusal()
    assert (error.reason, error.retry_after is not None) == ("TRAINER_UNAVAILABLE", True)
    assert trainer.slots.admit(object()) == "cpu"  # type: ignore[arg-type]


async def test_a_stopping_trainer_tells_its_callers(trainer: ModelTrainer) -> None:
    asked = asyncio.create_task(trainer.refusal("a", "answer_ms=60000"))
    await until_busy(trainer)
    await asyncio.wait_for(trainer.models.close(), timeout=30)
    assert (await asked).reason == "SHUTTING_DOWN"
    assert (await trainer.refusal()).reason == "SHUTTING_DOWN"


@pytest.mark.integration
async def test_a_cold_process_answers_too_and_is_gone_when_it_leaves(tmp_path: Path) -> None:
    trainer = ModelTrainer(tmp_path, launcher=ExecLauncher(environment=os.environ))
    assert (await trainer.ask()).classifications
    worker = trainer.models._by_job["jobs/a"]
    [process] = [
        child for child in psutil.Process().children() if "inference_worker" in " ".join(child.cmdline())
    ]
    await worker.leave()
    assert not process.is_running()
    assert trainer.slots.admit(object()) == "cpu"  # type: ignore[arg-type]
