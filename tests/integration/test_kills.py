"""Whatever is killed, whenever: no event is lost or doubled, and the job succeeds with the same numbers."""

import hashlib
import json
import os
import random
import time

import pytest

from tests.support.platform import Platform, assert_gapless, fake_spec
from tuneyard.v1 import artifact_service_pb2, event_pb2, job_pb2

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

SCRIPT = "steps=160,step_ms=8,save=20,eval=40"
TARGETS = ("gateway", "trainer", "warm", "worker")


def kill(platform: Platform, target: str) -> bool:
    """Kills one process, and starts it again where nobody else does; False if there was none to kill."""
    if target == "gateway":
        platform.gateway.restart()
        return True
    if target == "trainer":
        platform.trainer.restart()
        return True
    found = (
        platform.trainer.children(of_module="tuneyard.trainer.warm")[:1]
        if target == "warm"
        else platform.workers()
    )
    for process in found:
        process.kill()
    return bool(found)


def losses(platform: Platform, job: str) -> str:
    """Returns the hash of the losses that a job left behind."""
    request = artifact_service_pb2.DownloadArtifactRequest(name=f"{job}/artifacts/losses.json")

    def read(channel: object) -> bytes:
        parts = platform.artifacts(channel).DownloadArtifact(request, timeout=30)  # type: ignore[arg-type]
        return b"".join(part.chunk for part in parts)

    content = platform.call(read)
    assert len(json.loads(content)) > 0
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def undisturbed(fakes: Platform) -> str:
    """The losses of a job that nobody disturbed."""
    job = fakes.train(fake_spec(SCRIPT, seed=7))
    fakes.watch(job.name).wait(within=60)
    return losses(fakes, job.name)


def assert_truthful(platform: Platform, name: str, events: list[event_pb2.JobEvent]) -> job_pb2.Job:
    """The log has no gap, the job succeeded, and the number of attempts is the number that were started."""
    assert_gapless(events)
    job = platform.job(name)
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job.error
    assert job.last_sequence == events[-1].sequence
    starts = [e for e in events if e.state_change.to == job_pb2.JOB_STATE_STARTING]
    assert job.attempt_count == len({e.attempt for e in starts}) == max(e.attempt for e in events)
    return job


def disturb(platform: Platform, target: str, *, seed: int) -> tuple[job_pb2.Job, list[event_pb2.JobEvent]]:
    """Runs a job and kills the target once, at a random moment of its life."""
    moment = random.Random(seed).uniform(0.0, 1.8)
    job = platform.train(
        fake_spec(SCRIPT, seed=7), request_id=f"{target}-{seed}-{os.getpid()}-{time.time_ns()}"
    )
    watcher = platform.watch(job.name)
    watcher.finished.wait(moment)
    kill(platform, target)
    events = watcher.wait(within=90)
    return assert_truthful(platform, job.name, events), events


@pytest.mark.parametrize("target", TARGETS)
def test_a_kill_at_a_random_moment_loses_nothing(fakes: Platform, undisturbed: str, target: str) -> None:
    for seed in range(10):
        job, _ = disturb(fakes, target, seed=seed)
        assert losses(fakes, job.name) == undisturbed, f"{target}, seed {seed}"
        if target == "gateway":
            assert job.attempt_count == 1, "a gateway's death must not cost an attempt"
        fakes.wait_ready()


@pytest.mark.soak
@pytest.mark.parametrize("target", TARGETS)
def test_a_hundred_kills_lose_nothing(fakes: Platform, undisturbed: str, target: str) -> None:
    for seed in range(1000, 1100):
        job, _ = disturb(fakes, target, seed=seed)
        assert losses(fakes, job.name) == undisturbed, f"{target}, seed {seed}"
        fakes.wait_ready()


def test_kills_of_everything_during_one_job_lose_nothing(fakes: Platform) -> None:
    draw = random.Random(11)
    job = fakes.train(fake_spec("steps=400,step_ms=8,save=10,eval=100", seed=3))
    watcher = fakes.watch(job.name)
    for target in ("worker", "gateway", "trainer", "gateway", "warm", "worker"):
        reached = max((e.checkpoint.checkpoint.step for e in watcher.events), default=0)
        watcher.wait_for(
            lambda events, reached=reached: any(  # type: ignore[misc]
                e.checkpoint.checkpoint.step > reached for e in events
            )
        )
        time.sleep(draw.uniform(0, 0.2))
        kill(fakes, target)
        fakes.wait_ready()
    job = assert_truthful(fakes, job.name, watcher.wait(within=120))
    assert 2 <= job.attempt_count <= 5
