"""Trainers that stop answering, or stop for good: cancels stay certain, no job fails, slots come back."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.platform import Platform, assert_gapless, eventually, fake_spec, platform
from tuneyard.v1 import job_pb2

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture
def fakes(tmp_path: Path) -> Iterator[Platform]:
    """A trainer with two slots, which no silence makes a lost one."""
    settings = {"TUNEYARD_DEVICES": "cpu,cpu", "TUNEYARD_TRAINER_LEASE_SECONDS": "3600"}
    with platform(tmp_path / "p", extra=settings) as started:
        started.upload_images()
        yield started


def test_cancels_of_a_trainer_that_stands_still_are_certain_and_its_slots_come_back(fakes: Platform) -> None:
    jobs = [fakes.train(fake_spec("steps=100000,step_ms=5")).name for _ in range(2)]
    for job in jobs:
        fakes.watch(job).at_step(1)
    os.kill(fakes.trainer.pid, signal.SIGSTOP)
    try:
        for job in jobs:
            fakes.cancel(job)
        for job in jobs:
            eventually(
                lambda job=job: fakes.job(job).state == job_pb2.JOB_STATE_CANCELLED,  # type: ignore[misc]
                within=60,
                what=f"the cancel of {job}",
            )
    finally:
        os.kill(fakes.trainer.pid, signal.SIGCONT)
    eventually(lambda: not fakes.workers(), within=60, what="the end of the workers")
    after = fakes.train(fake_spec("steps=3,step_ms=1"))
    assert_gapless(fakes.watch(after.name).wait())


def test_jobs_outlive_an_orderly_restart_of_their_trainer(fakes: Platform) -> None:
    jobs = [fakes.train(fake_spec("steps=250,step_ms=10,save=10")).name for _ in range(4)]
    watchers = [fakes.watch(job) for job in jobs]
    # Twice: after three losses in a row without a new checkpoint a job is given up.
    for _ in range(2):
        eventually(lambda: len(fakes.workers()) == 2, within=30, what="two workers")
        fakes.trainer.kill(signal.SIGTERM)
        fakes.trainer.start()
    for watcher in watchers:
        assert_gapless(watcher.wait())
    assert [fakes.job(job).state for job in jobs] == [job_pb2.JOB_STATE_SUCCEEDED] * 4
