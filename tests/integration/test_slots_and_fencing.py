"""Queues, slots, idempotency, out-of-memory recovery, and what a closed attempt may still do: nothing."""

import itertools
import json
import os
import signal
from pathlib import Path

import pytest

from tests.support.platform import Platform, assert_gapless, eventually, fake_spec, platform
from tuneyard.v1 import artifact_service_pb2, job_pb2, training_service_pb2

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_two_jobs_on_one_device_run_one_after_the_other_by_priority(fakes: Platform) -> None:
    first = fakes.train(fake_spec("steps=100000,step_ms=10"))
    fakes.watch(first.name).at_step(1)
    low = fakes.train(fake_spec("steps=3,step_ms=1"), priority=-1)
    high = fakes.train(fake_spec("steps=3,step_ms=1"), priority=5)
    assert (fakes.job(high.name).queue_position, fakes.job(low.name).queue_position) == (1, 2)
    fakes.cancel(first.name)
    for job in (first, high, low):
        fakes.watch(job.name).wait()
    ended = [fakes.job(job.name) for job in (first, high, low)]
    for before, after in itertools.pairwise(ended):
        assert before.end_time.ToNanoseconds() <= after.start_time.ToNanoseconds() + 50_000_000


def test_two_devices_run_side_by_side(tmp_path: Path) -> None:
    with platform(tmp_path / "p", extra={"TUNEYARD_DEVICES": "cpu,cpu"}) as fakes:
        fakes.upload_images()
        jobs = [fakes.train(fake_spec("steps=100000,step_ms=5")) for _ in range(2)]
        watchers = [fakes.watch(job.name) for job in jobs]
        for watcher in watchers:
            watcher.at_step(5)
        states = [fakes.job(job.name).state for job in jobs]
        assert states == [job_pb2.JOB_STATE_RUNNING] * 2
        for job in jobs:
            fakes.cancel(job.name)


def test_one_request_id_makes_one_job_though_the_first_answer_was_lost(fakes: Platform) -> None:
    request = training_service_pb2.TrainRequest(spec=fake_spec("steps=3,step_ms=1"), request_id="lost-answer")

    def send_and_hang_up() -> None:
        with fakes.channel() as channel:
            call = fakes.training(channel).Train.future(request, timeout=10)
            call.cancel()

    send_and_hang_up()
    names = {
        fakes.call(lambda channel: fakes.training(channel).Train(request, timeout=10)).job.name
        for _ in range(3)
    }
    assert len(names) == 1
    listed = fakes.call(
        lambda channel: fakes.training(channel).ListJobs(training_service_pb2.ListJobsRequest(page_size=1000))
    )
    assert sum(job.name in names for job in listed.jobs) == 1
    fakes.watch(names.pop()).wait()


def test_another_request_with_the_same_id_is_refused(fakes: Platform) -> None:
    fakes.train(fake_spec("steps=3,step_ms=1"), request_id="reused")
    with pytest.raises(Exception, match="ALREADY_EXISTS"):
        fakes.train(fake_spec("steps=4,step_ms=1"), request_id="reused")


def test_out_of_memory_at_a_step_keeps_every_sample(fakes: Platform) -> None:
    calm = fakes.train(fake_spec("steps=40,step_ms=1", seed=2))
    short = fakes.train(fake_spec("steps=40,step_ms=1,oom_at=17", seed=2))
    fakes.watch(calm.name).wait()
    events = fakes.watch(short.name).wait()
    recovered = [e.oom_recovered for e in events if e.HasField("oom_recovered")]
    assert recovered, "an event tells of the recovery"
    assert recovered[0].new_batch_size * 2 == recovered[0].old_batch_size
    before, after = (json.loads(fakes.artifact(job.name, "losses.json")) for job in (calm, short))
    assert after == before, "the same samples in every step give the same losses"
    assert fakes.job(short.name).attempt_count == 1


def test_what_a_closed_attempt_still_sends_is_refused(tmp_path: Path) -> None:
    """The trainer is frozen beyond its lease; when it wakes, its run's records come too late."""
    with platform(tmp_path / "p", extra={"TUNEYARD_TRAINER_LEASE_SECONDS": "3"}) as fakes:
        fakes.upload_images()
        job = fakes.train(fake_spec("steps=600,step_ms=10,save=10"))
        watcher = fakes.watch(job.name)
        watcher.wait_for(lambda events: any(e.HasField("checkpoint") for e in events))
        os.kill(fakes.trainer.pid, signal.SIGSTOP)
        try:
            eventually(
                lambda: fakes.job(job.name).state == job_pb2.JOB_STATE_QUEUED,
                within=20,
                what="the attempt lost",
            )
            told = fakes.job(job.name).last_sequence
        finally:
            os.kill(fakes.trainer.pid, signal.SIGCONT)
        events = watcher.wait(within=90)
        assert_gapless(events)
        late = [e for e in events if e.sequence > told and e.attempt == 1]
        assert not late, "no event of the closed attempt was committed"
        ended = fakes.job(job.name)
        assert (ended.state, ended.attempt_count) == (job_pb2.JOB_STATE_SUCCEEDED, 2)
        listed = fakes.call(
            lambda channel: fakes.artifacts(channel).ListArtifacts(
                artifact_service_pb2.ListArtifactsRequest(parent=job.name), timeout=10
            )
        )
        assert {a.attempt for a in listed.artifacts} == {2}


def test_the_next_job_runs_after_one_that_was_refused(fakes: Platform) -> None:
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        fakes.train(fake_spec("steps=3,no_such_key=1"))
    job = fakes.train(fake_spec("steps=3,step_ms=1"))
    fakes.watch(job.name).wait()
    assert fakes.job(job.name).state == job_pb2.JOB_STATE_SUCCEEDED
