import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.fake_launcher import FakeLauncher
from tuneyard.rpc.errors import TuneyardError
from tuneyard.storage import StoreSettings
from tuneyard.trainer.data_folder import DataFolder
from tuneyard.trainer.launcher import LauncherLost, LaunchError, WorkerExit
from tuneyard.trainer.run_folder import RunKey
from tuneyard.trainer.runs import Runs, RunTimes
from tuneyard.trainer.served_run import WorkOrder
from tuneyard.trainer.settings import OUT_OF_MEMORY_EXIT_CODE, WorkerSettings
from tuneyard.trainer.slots import Slots
from tuneyard.trainer.wakes import Wakes
from tuneyard.trainer.worker_output import LIMIT_BYTES
from tuneyard.v1.event_pb2 import LogEvent
from tuneyard.v1.system_pb2 import SlotKind
from tuneyard.v1.trainer_service_pb2 import RunExit, RunRecord, StartRunRequest, StopMode, WatchRunResponse

A1, A2, B1 = RunKey("jobs/a", 1), RunKey("jobs/a", 2), RunKey("jobs/b", 1)
CANCEL, PAUSE = StopMode.STOP_MODE_CANCEL, StopMode.STOP_MODE_PAUSE


class Trainer:
    """Runs on a folder, with a launcher that the test plays."""

    def __init__(self, path: Path, *, devices: tuple[str, ...] = ("cpu",), ready: bool = True) -> None:
        self.data = DataFolder.open(path, new_id="t")
        self.launcher = FakeLauncher(ready=ready)
        self.slots = Slots(devices, cpu_slots=1)
        self.wakes = Wakes(self.data.wake_socket())
        self.store_problem = ""
        self.runs = Runs(
            self.data,
            slots=self.slots,
            launcher=self.launcher,
            wakes=self.wakes,
            order=self._order,
            store_problem=lambda: self.store_problem,
            times=RunTimes(poll=timedelta(seconds=30), keep_alive=timedelta(seconds=0.01)),
        )

    async def start(
        self, key: RunKey, *, epoch: int = 1, slot: "SlotKind.ValueType" = SlotKind.SLOT_KIND_DEVICE
    ) -> str:
        return await self.runs.start(
            StartRunRequest(controller_epoch=epoch, job=key.job, attempt=key.attempt, slot=slot)
        )

    async def read(self, key: RunKey, *, after: int = 0) -> tuple[list[RunRecord], RunExit]:
        records: list[RunRecord] = []
        async with asyncio.timeout(5):
            async for response in self.runs.watch(key, after=after):
                records += response.records
                if response.HasField("exit"):
                    return records, response.exit
        raise AssertionError("no exit")

    def wake(self, key: RunKey) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(key.folder_name.encode(), str(self.wakes.path))

    def crash(self) -> None:
        """What a SIGKILL leaves: the folder, unlocked."""
        self.wakes.close()
        self.data.close()

    def _order(self, request: StartRunRequest, device: str) -> WorkOrder:
        settings = WorkerSettings(
            family_entry="none",
            device=device,
            cpu_threads=1,
            store_url="file:///none",
            store=StoreSettings(),
            cache_dir=self.data.cache,
            cache_limit_bytes=0,
            wake_socket=self.wakes.path,
            parent_pid=0,
        )
        return WorkOrder(settings=settings, env={"NAME": "value"})


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., Trainer]]:
    made: list[Trainer] = []

    def make(**options: object) -> Trainer:
        made.append(Trainer(tmp_path / "data", **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for trainer in made:
        trainer.crash()


def log(message: str) -> RunRecord:
    return RunRecord(log=LogEvent(message=message))


def reason(error: pytest.ExceptionInfo[TuneyardError]) -> str:
    return error.value.reason


async def test_a_run_gets_its_folder_settings_and_environment(make: Callable[..., Trainer]) -> None:
    trainer = make()
    assert await trainer.start(A1) == "cpu"
    worker = await trainer.launcher.launched()
    assert worker.env == {"NAME": "value"} and worker.control() == b"0"
    assert WorkerSettings.read(worker.run_dir / "settings.json").parent_pid == 1
    assert os.stat(worker.run_dir / "settings.json").st_mode & 0o077 == 0


async def test_the_same_run_is_started_once(make: Callable[..., Trainer]) -> None:
    trainer = make(devices=("cuda:0", "cuda:1"))
    answers = await asyncio.gather(*(trainer.start(A1) for _ in range(5)))
    assert set(answers) == {"cuda:0"}
    await trainer.launcher.launched()
    assert trainer.launcher.launched_none()


async def test_a_run_without_a_free_slot_is_refused_and_leaves_nothing(make: Callable[..., Trainer]) -> None:
    trainer = make()
    await trainer.start(A1)
    with pytest.raises(TuneyardError) as refused:
        await trainer.start(B1)
    assert reason(refused) == "NO_FREE_SLOT" and refused.value.retry_after is not None
    assert [path.name for path in trainer.data.runs.iterdir()] == ["a-1"]


async def test_a_merge_runs_beside_a_training_run(make: Callable[..., Trainer]) -> None:
    trainer = make(devices=("cuda:0",))
    await trainer.start(A1)
    assert await trainer.start(B1, slot=SlotKind.SLOT_KIND_CPU) == "cpu"


async def test_a_slot_is_free_again_when_its_run_has_ended(make: Callable[..., Trainer]) -> None:
    trainer = make()
    await trainer.start(A1)
    (await trainer.launcher.launched()).end()
    await trainer.read(A1)
    assert await trainer.start(B1) == "cpu"


async def test_records_are_streamed_as_they_are_woken_and_the_exit_ends_it(
    make: Callable[..., Trainer],
) -> None:
    trainer = make()
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
        assert [r.log.message for r in (await asyncio.wait_for(coming, 5)).records] == [message]
    worker.end(WorkerExit(exit_code=3))
    last = await asyncio.wait_for(anext(r async for r in watch if r.HasField("exit")), 5)
    assert (last.exit.exit_code, last.exit.last_run_sequence) == (3, 2)
    with pytest.raises(StopAsyncIteration):
        await anext(watch)


async def test_records_that_are_written_together_travel_together(make: Callable[..., Trainer]) -> None:
    trainer = make()
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


async def test_records_of_the_last_moment_come_before_the_exit(make: Callable[..., Trainer]) -> None:
    trainer = make()
    await trainer.start(A1)
    worker = await trainer.launcher.launched()
    reading = asyncio.ensure_future(trainer.read(A1))
    await asyncio.sleep(0)
    worker.record(*(log(str(number)) for number in range(1203)))
    worker.end()
    records, exit = await reading
    assert len(records) == exit.last_run_sequence == 1203


async def test_a_batch_has_at_most_500_records(make: Callable[..., Trainer]) -> None:
    trainer = make()
    await trainer.start(A1)
    worker = await trainer.launcher.launched()
    worker.record(*(log(str(number)) for number in range(1100)))
    worker.end()
    sizes = [len(response.records) async for response in trainer.runs.watch(A1, after=50)]
    assert [size for size in sizes if size] == [500, 500, 50]


async def test_a_silent_watch_is_kept_alive(make: Callable[..., Trainer]) -> None:
    trainer = make()
    trainer.runs._times = RunTimes(poll=timedelta(seconds=0.01), keep_alive=timedelta(seconds=0.02))
    await trainer.start(A1)
    async with asyncio.timeout(5):
        assert await anext(trainer.runs.watch(A1, after=0)) == WatchRunResponse()


async def test_a_pause_can_become_a_cancel_but_not_the_other_way(make: Callable[..., Trainer]) -> None:
    trainer = make()
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
    make: Callable[..., Trainer],
) -> None:
    trainer = make(ready=False)
    await trainer.start(A1)
    trainer.runs.stop(A1, PAUSE)
    records, exit = await trainer.read(A1)
    assert (records, exit.exit_code, exit.signal, exit.trainer_restarted) == ([], 0, 0, False)
    assert trainer.launcher.launched_none()


async def test_a_launch_that_was_lost_unstarted_is_repeated(make: Callable[..., Trainer]) -> None:
    trainer = make()
    trainer.launcher.failures = [LauncherLost("gone"), LauncherLost("gone")]
    await trainer.start(A1)
    (await trainer.launcher.launched()).end()
    assert not (await trainer.read(A1))[1].trainer_restarted


async def test_a_cancel_does_not_wait_longer_than_its_grace_for_a_launch(
    make: Callable[..., Trainer],
) -> None:
    trainer = make()
    trainer.runs._times = RunTimes(cancel_grace=timedelta(seconds=0.05))
    trainer.launcher.hangs = True
    await trainer.start(A1)
    await trainer.launcher.asked.wait()
    trainer.runs.stop(A1, CANCEL)
    records, exit = await trainer.read(A1)
    assert (records, exit.exit_code, exit.signal, exit.trainer_restarted) == ([], 0, 0, False)
    assert trainer.slots.free(SlotKind.SLOT_KIND_DEVICE) == 1


async def test_a_stopping_trainer_does_not_wait_for_a_launch(make: Callable[..., Trainer]) -> None:
    trainer = make()
    trainer.launcher.hangs = True
    await trainer.start(A1)
    await trainer.launcher.asked.wait()
    async with asyncio.timeout(5):
        await trainer.runs.close()
    exit = (await trainer.read(A1))[1]
    assert exit.trainer_restarted and exit.trainer_stopped


async def test_a_launch_that_fails_ends_the_run_as_lost(make: Callable[..., Trainer]) -> None:
    trainer = make()
    trainer.launcher.failures = [LaunchError("no memory")]
    await trainer.start(A1)
    exit = (await trainer.read(A1))[1]
    assert exit.trainer_restarted and exit.detail == "no memory"


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
    make: Callable[..., Trainer], ended: WorkerExit, told: RunExit
) -> None:
    trainer = make()
    await trainer.start(A1)
    (await trainer.launcher.launched()).end(ended)
    assert (await trainer.read(A1))[1] == told


async def test_the_tail_of_the_output_goes_with_the_exit(make: Callable[..., Trainer]) -> None:
    trainer = make()
    await trainer.start(A1)
    worker = await trainer.launcher.launched()
    (worker.run_dir / "stderr.log").write_text("x" * 10_000 + "\nlast words\n")
    worker.end(WorkerExit(exit_code=1))
    detail = (await trainer.read(A1))[1].detail
    assert detail.endswith("last words") and len(detail) < 5000


async def test_an_output_that_grows_without_end_is_cut_while_the_worker_lives(
    make: Callable[..., Trainer],
) -> None:
    trainer = make()
    await trainer.start(A1)
    worker = await trainer.launcher.launched()
    output = worker.run_dir / "stderr.log"
    output.write_bytes(b"word\n" * (LIMIT_BYTES // 5 + 1))
    async with asyncio.timeout(10):
        while output.stat().st_size > LIMIT_BYTES:
            await asyncio.sleep(0.05)
    worker.end(WorkerExit(exit_code=1))
    assert (await trainer.read(A1))[1].detail.endswith("word")


async def test_an_older_controller_is_refused_and_a_newer_one_remembered(
    make: Callable[..., Trainer],
) -> None:
    trainer = make()
    trainer.runs.note_epoch(5)
    with pytest.raises(TuneyardError) as stale:
        await trainer.start(A1, epoch=4)
    assert reason(stale) == "STALE_CONTROLLER"
    await trainer.start(A1, epoch=6)
    assert trainer.data.epoch == 6


async def test_an_earlier_attempt_than_one_that_is_here_is_stale(make: Callable[..., Trainer]) -> None:
    trainer = make(devices=("cpu", "cpu"))
    await trainer.start(A2)
    with pytest.raises(TuneyardError) as stale:
        await trainer.start(A1)
    assert reason(stale) == "STALE_ATTEMPT"


async def test_a_run_that_cannot_reach_its_store_is_not_accepted(make: Callable[..., Trainer]) -> None:
    trainer = make()
    trainer.store_problem = "not here"
    with pytest.raises(TuneyardError) as refused:
        await trainer.start(A1)
    assert reason(refused) == "STORE_UNAVAILABLE"
    assert trainer.slots.free(SlotKind.SLOT_KIND_DEVICE) == 1


async def test_a_full_disk_is_told_and_frees_the_slot(
    make: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tuneyard.trainer.run_folder.write_whole", full)
    with pytest.raises(TuneyardError) as refused:
        await trainer.start(A1)
    assert reason(refused) == "STORAGE_FULL"
    assert list(trainer.data.runs.iterdir()) == []
    assert trainer.slots.free(SlotKind.SLOT_KIND_DEVICE) == 1


async def test_a_run_that_no_worker_can_be_ordered_for_leaves_nothing(make: Callable[..., Trainer]) -> None:
    trainer = make()

    def fail(request: StartRunRequest, device: str) -> WorkOrder:
        raise KeyError(device)

    trainer.runs._order = fail
    with pytest.raises(KeyError):
        await trainer.start(A1)
    assert trainer.runs.infos() == [] and list(trainer.data.runs.iterdir()) == []
    assert trainer.slots.free(SlotKind.SLOT_KIND_DEVICE) == 1


async def test_a_restart_finds_runs_ended_and_unended_and_forgets_half_made_ones(
    make: Callable[..., Trainer],
) -> None:
    first = make(devices=("cuda:0", "cuda:1"))
    await first.start(A1)
    (await first.launcher.launched()).end(WorkerExit(exit_code=4))
    await first.read(A1)
    await first.start(B1)
    (await first.launcher.launched()).record(log("one"), log("two"))
    (first.data.runs / "c-1" / "scratch").mkdir(parents=True)
    first.crash()
    second = make()
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


async def test_a_released_run_is_forgotten_and_a_living_one_is_kept(make: Callable[..., Trainer]) -> None:
    trainer = make()
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
    make: Callable[..., Trainer],
) -> None:
    trainer = make()
    await trainer.start(A1)
    (await trainer.launcher.launched()).end()
    await trainer.read(A1)
    (trainer.data.runs / "a-1").rename(trainer.data.runs / ".released-a-1")
    trainer.crash()
    second = make()
    await second.runs.recover()
    assert second.runs.infos() == [] and list(second.data.runs.iterdir()) == []


async def test_a_closing_trainer_starts_nothing(make: Callable[..., Trainer]) -> None:
    trainer = make()
    await trainer.runs.close()
    with pytest.raises(TuneyardError) as closing:
        await trainer.start(A1)
    assert reason(closing) == "SHUTTING_DOWN"


async def test_only_what_a_stopping_trainer_killed_is_told_as_such(make: Callable[..., Trainer]) -> None:
    for ended, stopped in ((WorkerExit(signal=9), True), (WorkerExit(exit_code=0), False)):
        trainer = make(devices=("cpu",))
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


async def test_running_jobs_and_slots_are_told(make: Callable[..., Trainer]) -> None:
    trainer = make()
    await trainer.start(A1)
    assert trainer.runs.running_jobs() == ["jobs/a"]
    info = trainer.runs.infos()[0]
    assert (info.device, info.slot, info.alive) == ("cpu", SlotKind.SLOT_KIND_DEVICE, True)
