"""Whatever is killed, whenever: no event is lost or doubled, and the job succeeds with the same numbers."""

import hashlib
import json
import random
import time
from dataclasses import dataclass

import pytest

from tests.support.kills import TARGETS, assert_truthful, kill
from tests.support.platform import Platform, fake_spec
from tuneyard.v1 import job_pb2

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

SCRIPT = "steps=160,step_ms=8,save=20,eval=40"


def losses(platform: Platform, job: str) -> str:
    """Returns the hash of the losses that a job left behind."""
    content = platform.artifact(job, "losses.json")
    assert len(json.loads(content)) > 0
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Undisturbed:
    """A job that nobody disturbed: how long it took from its request on, and its losses."""

    seconds: float
    losses: str


@pytest.fixture(scope="module")
def undisturbed(fakes: Platform) -> Undisturbed:
    asked = time.monotonic()
    job = fakes.train(fake_spec(SCRIPT, seed=7))
    fakes.watch(job.name).wait(within=60)
    return Undisturbed(time.monotonic() - asked, losses(fakes, job.name))


def disturb(platform: Platform, target: str, calm: Undisturbed, *, seed: int) -> tuple[job_pb2.Job, bool]:
    """Runs a job and kills the target once, at a random moment of its life; tells whether there was one."""
    moment = random.Random(seed).uniform(0.0, calm.seconds)
    job = platform.train(fake_spec(SCRIPT, seed=7))
    watcher = platform.watch(job.name)
    watcher.finished.wait(moment)
    killed = kill(platform, target)
    ended = assert_truthful(platform, job.name, watcher.wait(within=90))
    assert losses(platform, job.name) == calm.losses, f"{target}, seed {seed}"
    platform.wait_ready()
    return ended, killed


def kill_so_often(platform: Platform, target: str, calm: Undisturbed, *, kills: int, seed: int) -> None:
    """Disturbs jobs until so many processes were killed: a worker is not there at every moment of a job."""
    for attempt in range(2 * kills):
        job, killed = disturb(platform, target, calm, seed=seed + attempt)
        if target == "gateway":
            assert job.attempt_count == 1, "a gateway's death must not cost an attempt"
        kills -= killed
        if not kills:
            return
    pytest.fail(f"{kills} kills were left to do")


@pytest.mark.parametrize("target", TARGETS)
def test_a_kill_at_a_random_moment_loses_nothing(
    fakes: Platform, undisturbed: Undisturbed, target: str
) -> None:
    kill_so_often(fakes, target, undisturbed, kills=10, seed=0)


@pytest.mark.soak
@pytest.mark.parametrize("target", TARGETS)
def test_a_hundred_kills_lose_nothing(fakes: Platform, undisturbed: Undisturbed, target: str) -> None:
    kill_so_often(fakes, target, undisturbed, kills=100, seed=1000)


def test_kills_of_everything_during_one_job_lose_nothing(fakes: Platform) -> None:
    draw = random.Random(11)
    job = fakes.train(fake_spec("steps=800,step_ms=8,save=10,eval=100", seed=3))
    watcher = fakes.watch(job.name)
    for target in ("worker", "trainer", "warm", "worker"):
        watcher.at_a_new_checkpoint()
        time.sleep(draw.uniform(0, 0.2))
        kill(fakes, target)
        fakes.wait_ready()
    # Twice, the second time while it starts. The run goes on without it, and may have ended when it is back.
    for _ in range(2):
        time.sleep(draw.uniform(0, 1))
        kill(fakes, "gateway")
    job = assert_truthful(fakes, job.name, watcher.wait(within=120))
    assert job.attempt_count == 5, "each death but the gateway's costs an attempt"
