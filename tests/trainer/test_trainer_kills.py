"""Kills of every part of a trainer at moments that nobody chose."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest

from tests.support.trainer_process import TrainerProcess, eventually
from tuneyard.v1.trainer_service_pb2 import RunExit, RunRecord, StopMode

SCRIPT = "records=150,ticks=20"


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[TrainerProcess]:
    trainer = TrainerProcess(tmp_path).start_ready()
    yield trainer
    trainer.close()


def kill(trainer: TrainerProcess, part: str) -> None:
    """SIGKILL; a part that is not there just now needs none."""
    if part == "trainer":
        trainer.kill()
        trainer.start()
    if part == "worker":
        for worker in trainer.workers():
            worker.kill()
    if part == "warm server" and (warm := trainer.warm_server()):
        warm.kill()


def read_to_the_exit(
    trainer: TrainerProcess, job: str, seen: list[RunRecord]
) -> tuple[list[RunRecord], RunExit]:
    """What a gateway does: go on after the last record that it has."""
    while True:
        try:
            records, exit = trainer.read(job, after=len(seen))
            return seen + records, exit
        except grpc.RpcError as error:
            assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def survive(trainer: TrainerProcess, job: str, dice: random.Random) -> None:
    part = dice.choice(["trainer", "warm server", "worker", "nothing"])
    trainer.run(job, SCRIPT)
    # Not a wait for something: the moment of the kill is what the test varies.
    time.sleep(dice.choice([0.0, 0.01, 0.05, 0.2, 0.4]))
    kill(trainer, part)
    records, exit = read_to_the_exit(trainer, job, [])
    assert [record.run_sequence for record in records] == list(range(1, exit.last_run_sequence + 1))
    has_ended = bool(records) and records[-1].WhichOneof("body") == "result"
    assert has_ended or exit.signal or exit.trainer_restarted, (part, exit)
    assert exit.out_of_memory is False
    assert has_ended or part != "nothing"
    pids = [record.started.pid for record in records if record.WhichOneof("body") == "started"]
    assert len(pids) <= 1 and not any(is_running(pid) for pid in pids)
    if dice.random() < 0.5:
        trainer.stop(job, StopMode.STOP_MODE_CANCEL)
    trainer.release(job)
    eventually(lambda: trainer.info().free_device_slots == 1)


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.integration
def test_a_few_kills_lose_no_record_and_leave_nothing_alive(trainer: TrainerProcess) -> None:
    dice = random.Random(1)
    for number in range(8):
        survive(trainer, f"job{number}", dice)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(2, 6))
def test_many_kills_lose_no_record_and_leave_nothing_alive(trainer: TrainerProcess, seed: int) -> None:
    dice = random.Random(seed)
    for number in range(60):
        survive(trainer, f"job{number}", dice)
