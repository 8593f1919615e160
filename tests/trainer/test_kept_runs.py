"""Runs that outlive their trainer, are released, or end with it."""

import asyncio

import pytest

from tests.support.played_trainer import A1, B1, MakeTrainer, log
from tuneyard.rpc.errors import TuneyardError
from tuneyard.trainer.launcher import WorkerExit
from tuneyard.v1.system_pb2 import SlotKind


def reason(error: pytest.ExceptionInfo[TuneyardError]) -> str:
    return error.value.reason


async def test_a_stopping_trainer_does_not_wait_for_a_launch(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    trainer.launcher.hangs = True
    await trainer.start(A1)
    await trainer.launcher.asked.wait()
    async with asyncio.timeout(30):
        await trainer.runs.close()
    exit = (await trainer.read(A1))[1]
    assert exit.trainer_restarted and exit.trainer_stopped


async def test_an_older_controller_is_refused_and_a_newer_one_remembered(
    make_trainer: MakeTrainer,
) -> None:
    trainer = make_trainer()
    trainer.runs.note_epoch(5)
    with pytest.raises(TuneyardError) as stale:
        await trainer.start(A1, epoch=4)
    assert reason(stale) == "STALE_CONTROLLER"
    await trainer.start(A1, epoch=6)
    assert trainer.data.epoch == 6


async def test_a_restart_finds_runs_ended_and_unended_and_forgets_half_made_ones(
    make_trainer: MakeTrainer,
) -> None:
    first = make_trainer(devices=("cuda:0", "cuda:1"))
    await first.start(A1)
    (await first.launcher.launched()).end(WorkerExit(exit_code=4))
    await first.read(A1)
    await first.start(B1)
    (await first.launcher.launched()).record(log("one"), log("two"))
    (first.data.runs / "c-1" / "scratch").mkdir(parents=True)
    first.crash()
    second = make_trainer()
    await second.runs.recover()
    assert [(i.job, i.alive, i.last_run_sequence) for i in second.runs.infos()] == [
        ("jobs/a", False, 0),
        ("jobs/b", False, 2),
    ]
    assert (await second.read(A1))[1].exit_code == 4
    records, exit = await second.read(B1)
    assert len(records) == 2 and exit.trainer_restarted and not exit.trainer_stopped
    assert await second.start(B1) == "cuda:0", "the first answer again"
    assert second.slots.free(SlotKind.SLOT_KIND_DEVICE) == 1
    assert not (second.data.runs / "c-1").exists()


async def test_a_released_run_is_forgotten_and_a_living_one_is_kept(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    await trainer.start(A1)
    with pytest.raises(TuneyardError) as alive:
        await trainer.runs.release(A1)
    assert reason(alive) == "JOB_STATE_CONFLICT"
    (await trainer.launcher.launched()).end()
    await trainer.read(A1)
    await trainer.runs.release(A1)
    await trainer.runs.release(A1)
    assert trainer.runs.infos() == [] and list(trainer.data.runs.iterdir()) == []
    with pytest.raises(TuneyardError) as gone:
        await anext(trainer.runs.watch(A1, after=0))
    assert reason(gone) == "RUN_NOT_FOUND"


async def test_a_run_that_was_being_released_in_a_crash_is_gone_after_it(
    make_trainer: MakeTrainer,
) -> None:
    trainer = make_trainer()
    await trainer.start(A1)
    (await trainer.launcher.launched()).end()
    await trainer.read(A1)
    (trainer.data.runs / "a-1").rename(trainer.data.runs / ".released-a-1")
    trainer.crash()
    second = make_trainer()
    await second.runs.recover()
    assert second.runs.infos() == [] and list(second.data.runs.iterdir()) == []


async def test_a_closing_trainer_starts_nothing(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    await trainer.runs.close()
    with pytest.raises(TuneyardError) as closing:
        await trainer.start(A1)
    assert reason(closing) == "SHUTTING_DOWN"


async def test_only_what_a_stopping_trainer_killed_is_told_as_such(make_trainer: MakeTrainer) -> None:
    for ended, stopped in ((WorkerExit(signal=9), True), (WorkerExit(exit_code=0), False)):
        trainer = make_trainer(devices=("cpu",))
        await trainer.start(A1)
        worker = await trainer.launcher.launched()
        closing = asyncio.ensure_future(trainer.runs.close())
        await asyncio.sleep(0)
        worker.end(ended)
        await closing
        exit = (await trainer.read(A1))[1]
        assert (exit.trainer_restarted, exit.trainer_stopped) == (stopped, stopped)
        await trainer.runs.release(A1)
        trainer.crash()
