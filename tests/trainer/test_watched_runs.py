"""What a watcher of a run hears: records as they come, and how the worker ended."""

import asyncio
from datetime import timedelta

import pytest

from tests.support.played_trainer import A1, MakeTrainer, log
from tuneyard.trainer.launcher import WorkerExit
from tuneyard.trainer.process import ProcessIdentity
from tuneyard.trainer.runs import RunTimes
from tuneyard.trainer.settings import OUT_OF_MEMORY_EXIT_CODE
from tuneyard.trainer.worker_output import LIMIT_BYTES
from tuneyard.v1.trainer_service_pb2 import RunExit, WatchRunResponse


async def test_records_are_streamed_as_they_are_woken_and_the_exit_ends_it(
    make_trainer: MakeTrainer,
) -> None:
    trainer = make_trainer()
    await trainer.start(A1)
    worker = await trainer.launcher.launched()
    watch = trainer.runs.watch(A1, after=0)

    async def next_with_records() -> WatchRunResponse:
        return await anext(response async for response in watch if response.records)

    for message in ("one", "two"):
        coming = asyncio.ensure_future(next_with_records())
        await asyncio.sleep(0)
        worker.record(log(message))
        trainer.wake(A1)
        assert [r.log.message for r in (await asyncio.wait_for(coming, 30)).records] == [message]
    worker.end(WorkerExit(exit_code=3))
    last = await asyncio.wait_for(anext(r async for r in watch if r.HasField("exit")), 30)
    assert (last.exit.exit_code, last.exit.last_run_sequence) == (3, 2)
    with pytest.raises(StopAsyncIteration):
        await anext(watch)


async def test_records_that_are_written_together_travel_together(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    trainer.runs._times = RunTimes(gather=timedelta(seconds=0.3), keep_alive=timedelta(seconds=0.01))
    await trainer.start(A1)
    worker = await trainer.launcher.launched()
    watch = trainer.runs.watch(A1, after=0)
    coming = asyncio.ensure_future(anext(response async for response in watch if response.records))
    await asyncio.sleep(0)
    for message in ("progress", "metrics"):
        worker.record(log(message))
        trainer.wake(A1)
        await asyncio.sleep(0.01)
    assert [record.log.message for record in (await coming).records] == ["progress", "metrics"]
    worker.end()


async def test_records_of_the_last_moment_come_before_the_exit(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    await trainer.start(A1)
    worker = await trainer.launcher.launched()
    reading = asyncio.ensure_future(trainer.read(A1))
    await asyncio.sleep(0)
    worker.record(*(log(str(number)) for number in range(1203)))
    worker.end()
    records, exit = await reading
    assert len(records) == exit.last_run_sequence == 1203


async def test_a_batch_has_at_most_500_records(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    await trainer.start(A1)
    worker = await trainer.launcher.launched()
    worker.record(*(log(str(number)) for number in range(1100)))
    worker.end()
    sizes = [len(response.records) async for response in trainer.runs.watch(A1, after=50)]
    assert [size for size in sizes if size] == [500, 500, 50]


async def test_a_silent_watch_is_kept_alive(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    trainer.runs._times = RunTimes(poll=timedelta(seconds=0.01), keep_alive=timedelta(seconds=0.02))
    await trainer.start(A1)
    async with asyncio.timeout(30):
        assert await anext(trainer.runs.watch(A1, after=0)) == WatchRunResponse()


@pytest.mark.parametrize(
    ("ended", "told"),
    [
        (WorkerExit(signal=9, out_of_memory=True), RunExit(signal=9, out_of_memory=True)),
        (WorkerExit(signal=9, lost=True, detail="x"), RunExit(signal=9, trainer_restarted=True, detail="x")),
        (
            WorkerExit(exit_code=OUT_OF_MEMORY_EXIT_CODE),
            RunExit(exit_code=OUT_OF_MEMORY_EXIT_CODE, out_of_memory=True),
        ),
    ],
)
async def test_how_a_worker_ended_is_told(
    make_trainer: MakeTrainer, ended: WorkerExit, told: RunExit
) -> None:
    trainer = make_trainer()
    await trainer.start(A1)
    (await trainer.launcher.launched()).end(ended)
    assert (await trainer.read(A1))[1] == told


async def test_the_tail_of_the_output_goes_with_the_exit(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    await trainer.start(A1)
    worker = await trainer.launcher.launched()
    (worker.run_dir / "stderr.log").write_text("x" * 10_000 + "\nlast words\n")
    worker.end(WorkerExit(exit_code=1))
    detail = (await trainer.read(A1))[1].detail
    assert detail.endswith("last words") and len(detail) < 5000


async def test_an_output_that_grows_without_end_is_cut_while_the_worker_lives(
    make_trainer: MakeTrainer,
) -> None:
    trainer = make_trainer()
    await trainer.start(A1)
    worker = await trainer.launcher.launched()
    output = worker.run_dir / "stderr.log"
    output.write_bytes(b"word\n" * (LIMIT_BYTES // 5 + 1))
    async with asyncio.timeout(30):
        while output.stat().st_size > LIMIT_BYTES:
            await asyncio.sleep(0.05)
    worker.end(WorkerExit(exit_code=1))
    assert (await trainer.read(A1))[1].detail.endswith("word")


async def test_a_worker_that_reports_nothing_for_too_long_is_killed_as_lost(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(silence_limit=timedelta(seconds=0.1))
    await trainer.start(A1)
    worker = await trainer.launcher.launched()
    alive = [True]

    def kill(process: ProcessIdentity) -> bool:
        killed, alive[0] = alive[0], False
        if killed:
            worker.end(WorkerExit(signal=9))
        return killed

    monkeypatch.setattr("tuneyard.trainer.served_run.kill_group", kill)
    exit = (await trainer.read(A1))[1]
    assert exit.silent and exit.signal == 9 and not exit.trainer_restarted


async def test_a_worker_that_goes_on_reporting_is_let_live(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(silence_limit=timedelta(seconds=0.2))
    await trainer.start(A1)
    worker = await trainer.launcher.launched()
    for number in range(30):
        worker.record(log(str(number)))
        await asyncio.sleep(0.02)
    worker.end()
    assert not (await trainer.read(A1))[1].silent
