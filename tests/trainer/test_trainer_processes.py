"""The trainer as real processes: what its parts do when others are killed."""

import signal
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import grpc
import psutil
import pytest
from grpc_status import rpc_status

from tests.support.trainer_process import TrainerProcess, eventually
from tuneyard.rpc.errors import from_status
from tuneyard.trainer.settings import WorkerSettings
from tuneyard.v1.system_pb2 import TrainerHealth
from tuneyard.v1.trainer_service_pb2 import ListRunsRequest, RunInfo, RunRecord, StopMode

pytestmark = pytest.mark.integration

CANCEL, PAUSE = StopMode.STOP_MODE_CANCEL, StopMode.STOP_MODE_PAUSE


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[TrainerProcess]:
    trainer = TrainerProcess(tmp_path)
    yield trainer
    trainer.close()


def kinds(records: list[RunRecord]) -> list[str]:
    return [str(record.WhichOneof("body")) for record in records]


def runs(trainer: TrainerProcess) -> list[RunInfo]:
    return list(trainer.stub.ListRuns(ListRunsRequest(), timeout=5).runs)


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def reason(error: pytest.ExceptionInfo[grpc.RpcError]) -> str:
    status = rpc_status.from_call(cast(grpc.Call, error.value))
    known = from_status(status) if status is not None else None
    return known.reason if known else str(error.value)


def test_a_run_is_watched_to_its_result_and_exit(trainer: TrainerProcess) -> None:
    trainer.start_ready()
    assert trainer.run("a", "records=3") == "cpu"
    records, exit = trainer.read("a")
    assert [record.run_sequence for record in records] == list(range(1, len(records) + 1))
    assert kinds(records)[0] == "started" and kinds(records)[-1] == "result"
    assert (exit.exit_code, exit.signal, exit.last_run_sequence) == (0, 0, len(records))


def test_a_watch_resumes_after_a_record(trainer: TrainerProcess) -> None:
    trainer.start_ready().run("a", "records=1200")
    records, _ = trainer.read("a")
    later, _ = trainer.read("a", after=700)
    assert later == records[700:]


def test_a_killed_trainer_leaves_no_worker_and_no_warm_server(trainer: TrainerProcess) -> None:
    trainer.start_ready().run("a", "hang")
    worker = trainer.wait_for_record("a", "started").started.pid
    warm = trainer.warm_server()
    assert warm is not None and is_running(worker)
    trainer.kill()
    eventually(lambda: not is_running(worker) and not warm.is_running())


def test_a_restarted_trainer_serves_the_old_journal_before_its_warm_server_is_ready(
    trainer: TrainerProcess,
) -> None:
    trainer.start_ready().run("a", "records=20,hang")
    eventually(lambda: runs(trainer)[0].last_run_sequence >= 21)
    before = trainer.info().trainer.id
    trainer.kill()
    trainer.start_importing()
    records, exit = trainer.read("a")
    assert trainer.info().trainer.health == TrainerHealth.TRAINER_HEALTH_STARTING
    assert kinds(records)[:2] == ["started", "log"] and len(records) == exit.last_run_sequence == 21
    assert exit.trainer_restarted
    assert trainer.info().trainer.id == before
    assert trainer.run("a", "records=20,hang") == "cpu", "the same attempt is not started twice"
    assert [run.alive for run in runs(trainer)] == [False]


def test_processes_that_a_worker_left_behind_end_with_the_next_start(trainer: TrainerProcess) -> None:
    trainer.start_ready().run("a", "orphan,hang")
    orphan = int(trainer.wait_for_record("a", "log").log.message.split()[1])
    trainer.kill()
    assert is_running(orphan), "the kernel kills workers, not their children"
    trainer.start()
    assert not is_running(orphan)


def test_processes_that_a_worker_left_behind_end_before_its_exit_is_told(trainer: TrainerProcess) -> None:
    trainer.start_ready().run("a", "orphan")
    orphan = int(trainer.wait_for_record("a", "log").log.message.split()[1])
    _, exit = trainer.read("a")
    assert exit.exit_code == 0
    assert not is_running(orphan)


def test_a_killed_warm_server_takes_its_workers_along_and_comes_back(trainer: TrainerProcess) -> None:
    trainer.start_ready().run("a", "hang")
    worker = trainer.wait_for_record("a", "started").started.pid
    warm = trainer.warm_server()
    assert warm is not None
    warm.kill()
    records, exit = trainer.read("a")
    assert not is_running(worker)
    assert exit.trainer_restarted and exit.last_run_sequence == len(records)
    eventually(lambda: trainer.info().trainer.health == TrainerHealth.TRAINER_HEALTH_READY)
    trainer.run("b", "records=1")
    assert kinds(trainer.read("b")[0])[-1] == "result"


def test_a_run_that_came_while_the_warm_server_was_away_runs_when_it_is_back(
    trainer: TrainerProcess,
) -> None:
    trainer.start_ready()
    warm = trainer.warm_server()
    assert warm is not None
    warm.kill()
    trainer.run("a", "records=1")
    assert kinds(trainer.read("a")[0])[-1] == "result"


def test_a_killed_worker_is_told_by_its_signal(trainer: TrainerProcess) -> None:
    trainer.start_ready().run("a", "records=2,hang")
    worker = trainer.wait_for_record("a", "log")
    psutil.Process(trainer.wait_for_record("a", "started").started.pid).kill()
    records, exit = trainer.read("a")
    assert worker in records
    assert (exit.signal, exit.exit_code, exit.out_of_memory) == (signal.SIGKILL, 0, False)
    assert not exit.trainer_restarted


def test_a_worker_that_crashes_is_told_by_code_and_output(trainer: TrainerProcess) -> None:
    trainer.start_ready().run("a", "print=last words,exit=3")
    _, exit = trainer.read("a")
    assert exit.exit_code == 3 and "last words" in exit.detail


def test_a_cancelled_run_ends_at_once_and_frees_its_slot(trainer: TrainerProcess) -> None:
    trainer.start_ready().run("a", "hang")
    trainer.wait_for_record("a", "started")
    trainer.stop("a", CANCEL)
    records, exit = trainer.read("a")
    assert kinds(records)[-1] == "cancelled" and exit.exit_code == 0
    trainer.run("b", "")
    trainer.read("b")


def test_a_paused_run_says_so_and_leaves(trainer: TrainerProcess) -> None:
    trainer.start_ready().run("a", "hang")
    trainer.wait_for_record("a", "started")
    trainer.stop("a", PAUSE)
    assert kinds(trainer.read("a")[0])[-1] == "paused"


def test_a_worker_that_ignores_the_cancel_is_killed_within_five_and_a_half_seconds(
    trainer: TrainerProcess,
) -> None:
    trainer.start_ready().run("a", "orphan,ignore_stop")
    orphan = int(trainer.wait_for_record("a", "log").log.message.split()[1])
    began = time.monotonic()
    trainer.stop("a", CANCEL)
    _, exit = trainer.read("a")
    assert 4.9 < time.monotonic() - began < 5.5
    assert exit.signal == signal.SIGKILL and not is_running(orphan)


def test_a_cancel_frees_the_slot_of_a_run_whose_warm_server_hangs(trainer: TrainerProcess) -> None:
    trainer.start_ready()
    warm = trainer.warm_server()
    assert warm is not None
    warm.suspend()
    trainer.run("a", "records=1,hang")
    began = time.monotonic()
    trainer.stop("a", CANCEL)
    records, exit = trainer.read("a")
    assert time.monotonic() - began < 5.5
    assert (records, exit.trainer_restarted) == ([], False)
    warm.wait(timeout=5)
    trainer.run("b", "records=1")
    assert kinds(trainer.read("b")[0])[-1] == "result"


def test_a_cancel_before_the_warm_server_is_ready_ends_the_run_unstarted(trainer: TrainerProcess) -> None:
    trainer.start_importing()
    trainer.run("a", "hang")
    trainer.stop("a", CANCEL)
    records, exit = trainer.read("a")
    assert trainer.info().trainer.health == TrainerHealth.TRAINER_HEALTH_STARTING
    assert (records, exit.exit_code, exit.signal) == ([], 0, 0)


def test_a_run_that_came_before_the_warm_server_is_ready_waits_for_it(trainer: TrainerProcess) -> None:
    trainer.start_importing().run("a", "records=1")
    assert [run.last_run_sequence for run in runs(trainer)] == [0]
    trainer.finish_imports()
    assert kinds(trainer.read("a")[0])[-1] == "result"


def test_where_imports_start_threads_runs_start_cold_and_the_trainer_says_so(
    trainer: TrainerProcess,
) -> None:
    trainer.start_ready(SCRIPTED_PRELOAD="tests.support.imports.threaded")
    info = trainer.info().trainer
    assert not info.warm and "2 threads" in info.problem
    trainer.run("a", "records=2,hang")
    worker = trainer.wait_for_record("a", "started").started.pid
    assert psutil.Process(worker).ppid() == trainer.pid
    trainer.stop("a", CANCEL)
    assert kinds(trainer.read("a")[0])[-1] == "cancelled"
    trainer.run("b", "hang")
    worker = trainer.wait_for_record("b", "started").started.pid
    trainer.kill()
    eventually(lambda: not is_running(worker))


def test_a_module_that_cannot_be_imported_is_named_and_the_rest_serves(trainer: TrainerProcess) -> None:
    trainer.start_ready(SCRIPTED_PRELOAD="no_such_module")
    info = trainer.info().trainer
    assert info.warm and info.problem == "import of no_such_module failed"
    trainer.run("a", "")
    assert kinds(trainer.read("a")[0])[-1] == "result"


def test_a_trainer_whose_entry_cannot_be_imported_says_that_it_can_run_no_jobs(
    trainer: TrainerProcess,
) -> None:
    trainer.start(SCRIPTED_ENTRY="no_such_entry")
    eventually(lambda: trainer.info().trainer.health == TrainerHealth.TRAINER_HEALTH_DEGRADED)
    assert "no_such_entry" in trainer.info().trainer.problem


def test_a_run_that_asks_for_the_processor_knows_of_the_accelerator_that_it_leaves(
    trainer: TrainerProcess,
) -> None:
    accelerated = TrainerProcess(trainer.data_dir.parent / "accelerated", devices="cuda:0").start_ready()
    try:
        assert accelerated.run("a", "hang", force_cpu=True) == "cpu"
        accelerated.wait_for_record("a", "started")
        [written] = accelerated.data_dir.rglob("settings.json")
        settings = WorkerSettings.read(written)
        assert (settings.device, settings.accelerators) == ("cpu", ("cuda:0",))
    finally:
        accelerated.close()


def test_a_later_attempt_ends_the_one_before_it(trainer: TrainerProcess) -> None:
    trainer_of_two = TrainerProcess(trainer.data_dir.parent / "two", devices="cpu,cpu").start_ready()
    try:
        trainer_of_two.run("a", "hang", attempt=1)
        trainer_of_two.wait_for_record("a", "started")
        trainer_of_two.run("a", "", attempt=2)
        assert trainer_of_two.read("a", attempt=1)[1].signal == signal.SIGKILL
        with pytest.raises(grpc.RpcError) as refused:
            trainer_of_two.run("a", "", attempt=1, epoch=0)
        assert reason(refused) == "STALE_CONTROLLER"
    finally:
        trainer_of_two.close()


def test_a_full_trainer_refuses_and_an_older_controller_is_refused_even_after_a_restart(
    trainer: TrainerProcess,
) -> None:
    trainer.start_ready().run("a", "hang", epoch=7)
    with pytest.raises(grpc.RpcError) as full:
        trainer.run("b", "", epoch=7)
    assert reason(full) == "NO_FREE_SLOT"
    trainer.kill()
    trainer.start()
    with pytest.raises(grpc.RpcError) as stale:
        trainer.run("b", "", epoch=6)
    assert reason(stale) == "STALE_CONTROLLER"


def test_a_released_run_is_gone_from_the_disk_and_a_living_one_is_not_released(
    trainer: TrainerProcess,
) -> None:
    trainer.start_ready().run("a", "hang")
    with pytest.raises(grpc.RpcError) as alive:
        trainer.release("a")
    assert reason(alive) == "JOB_STATE_CONFLICT"
    trainer.stop("a", CANCEL)
    trainer.read("a")
    trainer.release("a")
    trainer.release("a")
    assert list((trainer.data_dir / "runs").iterdir()) == []
    with pytest.raises(grpc.RpcError) as gone:
        trainer.read("a")
    assert reason(gone) == "RUN_NOT_FOUND"


def test_sigterm_ends_workers_and_watchers_within_three_seconds(trainer: TrainerProcess) -> None:
    trainer.start_ready().run("a", "records=5,ignore_stop")
    worker = trainer.wait_for_record("a", "started").started.pid
    eventually(lambda: runs(trainer)[0].last_run_sequence == 6)
    watch = trainer.watch("a", after=5)
    next(watch)
    code, seconds = trainer.terminate(while_stopping=lambda: list(watch))
    assert code == 0 and seconds < 3
    assert not is_running(worker)
    trainer.start()
    records, exit = trainer.read("a")
    assert len(records) == exit.last_run_sequence == 6
    assert exit.trainer_restarted and exit.trainer_stopped


def test_the_trainer_imports_no_torch_and_stays_small(trainer: TrainerProcess) -> None:
    trainer.start_ready().run("a", "")
    trainer.read("a")
    process = psutil.Process(trainer.pid)
    libraries = {Path(mapping.path).name for mapping in process.memory_maps()}
    assert not any("torch" in name for name in libraries)
    assert process.memory_info().rss < 150 << 20


def test_a_second_trainer_on_the_same_folder_is_refused(trainer: TrainerProcess) -> None:
    trainer.start()
    second = TrainerProcess(trainer.data_dir.parent)
    with pytest.raises(AssertionError, match="another trainer uses the data folder"):
        second.start()


def test_a_store_folder_that_is_not_here_is_told_and_refused(trainer: TrainerProcess) -> None:
    trainer.start_ready()
    trainer.terminate()
    trainer.start(TUNEYARD_STORE="file:///nowhere/store")
    info = trainer.info()
    assert info.trainer.health == TrainerHealth.TRAINER_HEALTH_DEGRADED
    assert "not on this machine" in info.trainer.problem
    with pytest.raises(grpc.RpcError) as refused:
        trainer.run("a", "")
    assert reason(refused) == "STORE_UNAVAILABLE"


def test_a_run_begins_within_sixty_milliseconds_on_a_warm_trainer(trainer: TrainerProcess) -> None:
    trainer.start_ready()
    seconds = []
    for number in range(8):
        began = time.time()
        trainer.run(f"a{number}", "records=1")
        record = next(r for r in trainer.read(f"a{number}")[0] if r.WhichOneof("body") == "log")
        seconds.append(record.time.ToNanoseconds() / 1e9 - began)
    assert statistics.median(seconds) < 0.06


def test_a_record_reaches_its_watcher_without_waiting_for_a_poll(trainer: TrainerProcess) -> None:
    trainer.start_ready().run("a", "ticks=30")
    delays = []
    for response in trainer.watch("a"):
        now = time.time_ns()
        delays += [now - r.time.ToNanoseconds() for r in response.records if r.WhichOneof("body") == "log"]
    assert len(delays) == 30
    # A poll alone would take a quarter of a second. Idle cores reach 2 ms, which is measured by `make bench`.
    assert statistics.median(delays) < 100e6
