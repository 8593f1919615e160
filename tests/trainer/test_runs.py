"""Runs: started once, refused, stopped."""

import asyncio
import os
from datetime import timedelta

import pytest

from tests.support.played_trainer import A1, A2, B1, MakeTrainer
from tuneyard.rpc.errors import TuneyardError
from tuneyard.trainer.launcher import LauncherLost, LaunchError
from tuneyard.trainer.runs import RunTimes
from tuneyard.trainer.served_run import WorkOrder
from tuneyard.trainer.settings import WorkerSettings
from tuneyard.v1.system_pb2 import SlotKind
from tuneyard.v1.trainer_service_pb2 import StartRunRequest, StopMode

CANCEL, PAUSE = StopMode.STOP_MODE_CANCEL, StopMode.STOP_MODE_PAUSE


def reason(error: pytest.ExceptionInfo[TuneyardError]) -> str:
    return error.value.reason


async def test_a_run_gets_its_folder_settings_and_environment(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    assert await trainer.start(A1) == "cpu"
    worker = await trainer.launcher.launched()
    assert worker.env == {"NAME": "value"} and worker.control() == b"0"
    assert WorkerSettings.read(worker.run_dir / "settings.json").parent_pid == 1
    assert os.stat(worker.run_dir / "settings.json").st_mode & 0o077 == 0


async def test_the_same_run_is_started_once(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(devices=("cuda:0", "cuda:1"))
    answers = await asyncio.gather(*(trainer.start(A1) for _ in range(5)))
    assert set(answers) == {"cuda:0"}
    await trainer.launcher.launched()
    assert trainer.launcher.launched_none()


async def test_a_run_without_a_free_slot_is_refused_and_leaves_nothing(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    await trainer.start(A1)
    with pytest.raises(TuneyardError) as refused:
        await trainer.start(B1)
    assert reason(refused) == "NO_FREE_SLOT" and refused.value.retry_after is not None
    assert [path.name for path in trainer.data.runs.iterdir()] == ["a-1"]


async def test_a_merge_runs_beside_a_training_run(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(devices=("cuda:0",))
    await trainer.start(A1)
    assert await trainer.start(B1, slot=SlotKind.SLOT_KIND_CPU) == "cpu"


async def test_a_slot_is_free_again_when_its_run_has_ended(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    await trainer.start(A1)
    (await trainer.launcher.launched()).end()
    await trainer.read(A1)
    assert await trainer.start(B1) == "cpu"


async def test_a_pause_can_become_a_cancel_but_not_the_other_way(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    await trainer.start(A1)
    worker = await trainer.launcher.launched()
    seen = []
    for mode in (PAUSE, CANCEL, PAUSE, CANCEL):
        trainer.runs.stop(A1, mode)
        seen.append(worker.control())
    assert seen == [b"1", b"2", b"2", b"2"]
    worker.end()
    await trainer.read(A1)
    trainer.runs.stop(A1, CANCEL)


async def test_a_run_stopped_before_the_launcher_is_ready_ends_unstarted(
    make_trainer: MakeTrainer,
) -> None:
    trainer = make_trainer(ready=False)
    await trainer.start(A1)
    trainer.runs.stop(A1, PAUSE)
    records, exit = await trainer.read(A1)
    assert (records, exit.exit_code, exit.signal, exit.trainer_restarted) == ([], 0, 0, False)
    assert trainer.launcher.launched_none()


async def test_a_launch_that_was_lost_unstarted_is_repeated(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    trainer.launcher.failures = [LauncherLost("gone"), LauncherLost("gone")]
    await trainer.start(A1)
    (await trainer.launcher.launched()).end()
    assert not (await trainer.read(A1))[1].trainer_restarted


async def test_a_cancel_does_not_wait_longer_than_its_grace_for_a_launch(
    make_trainer: MakeTrainer,
) -> None:
    trainer = make_trainer()
    trainer.runs._times = RunTimes(cancel_grace=timedelta(seconds=0.05))
    trainer.launcher.hangs = True
    await trainer.start(A1)
    await trainer.launcher.asked.wait()
    trainer.runs.stop(A1, CANCEL)
    records, exit = await trainer.read(A1)
    assert (records, exit.exit_code, exit.signal, exit.trainer_restarted) == ([], 0, 0, False)
    assert trainer.slots.free(SlotKind.SLOT_KIND_DEVICE) == 1


async def test_a_launch_that_fails_ends_the_run_as_lost(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    trainer.launcher.failures = [LaunchError("no memory")]
    await trainer.start(A1)
    exit = (await trainer.read(A1))[1]
    assert exit.trainer_restarted and exit.detail == "no memory"


async def test_an_earlier_attempt_than_one_that_is_here_is_stale(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(devices=("cpu", "cpu"))
    await trainer.start(A2)
    with pytest.raises(TuneyardError) as stale:
        await trainer.start(A1)
    assert reason(stale) == "STALE_ATTEMPT"


async def test_a_run_that_cannot_reach_its_store_is_not_accepted(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    trainer.store_problem = "not here"
    with pytest.raises(TuneyardError) as refused:
        await trainer.start(A1)
    assert reason(refused) == "STORE_UNAVAILABLE"
    assert trainer.slots.free(SlotKind.SLOT_KIND_DEVICE) == 1


async def test_a_full_disk_is_told_and_frees_the_slot(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tuneyard.trainer.run_folder.write_whole", full)
    with pytest.raises(TuneyardError) as refused:
        await trainer.start(A1)
    assert reason(refused) == "STORAGE_FULL"
    assert list(trainer.data.runs.iterdir()) == []
    assert trainer.slots.free(SlotKind.SLOT_KIND_DEVICE) == 1


async def test_a_run_that_no_worker_can_be_ordered_for_leaves_nothing(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()

    def fail(request: StartRunRequest, device: str) -> WorkOrder:
        raise KeyError(device)

    trainer.runs._order = fail
    with pytest.raises(KeyError):
        await trainer.start(A1)
    assert trainer.runs.infos() == [] and list(trainer.data.runs.iterdir()) == []
    assert trainer.slots.free(SlotKind.SLOT_KIND_DEVICE) == 1


async def test_running_jobs_and_slots_are_told(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    await trainer.start(A1)
    assert trainer.runs.running_jobs() == ["jobs/a"]
    info = trainer.runs.infos()[0]
    assert (info.device, info.slot, info.alive) == ("cpu", SlotKind.SLOT_KIND_DEVICE, True)
