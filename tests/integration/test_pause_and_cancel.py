"""Pause, resume and cancel in every state, with kills in between; numbers stay the same, slots come free."""

import hashlib
import signal
from collections.abc import Iterator

import pytest

from tests.support.kills import end
from tests.support.platform import TERMINAL, Platform, assert_gapless, eventually, fake_spec
from tuneyard.storage import FolderStore
from tuneyard.v1 import event_pb2, job_pb2

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

# Long enough that a pause comes before its end.
SCRIPT = "steps=500,step_ms=8,save=25,eval=40"
State = job_pb2.JobState


@pytest.fixture(autouse=True)
def idle(fakes: Platform) -> Iterator[None]:
    """Each test finds and leaves the trainer without workers."""
    yield
    eventually(lambda: not fakes.workers(), within=60, what="no worker left")


def states(events: list[event_pb2.JobEvent]) -> list[str]:
    return [State.Name(e.state_change.to)[10:] for e in events if e.HasField("state_change")]


def artifact(platform: Platform, job: str, path: str) -> str:
    return hashlib.sha256(platform.artifact(job, path)).hexdigest()


def ended_after(events: list[event_pb2.JobEvent]) -> float:
    """Seconds from the wish to cancel to the end, by the log."""
    begun = next(
        e for e in events if e.state_change.to in {State.JOB_STATE_CANCELLING, State.JOB_STATE_CANCELLED}
    )
    return (events[-1].time.ToNanoseconds() - begun.time.ToNanoseconds()) / 1e9


def in_state(
    platform: Platform, name: str, *wanted: "job_pb2.JobState.ValueType", within: float = 60
) -> job_pb2.Job:
    eventually(
        lambda: platform.job(name).state in wanted,
        within=within,
        what=f"{name} in {[State.Name(state) for state in wanted]}, is {platform.job(name)}",
    )
    return platform.job(name)


def test_a_paused_job_ends_with_the_same_numbers(fakes: Platform) -> None:
    whole = fakes.train(fake_spec(SCRIPT, seed=5))
    fakes.watch(whole.name).wait()
    parts = fakes.train(fake_spec(SCRIPT, seed=5))
    watcher = fakes.watch(parts.name)
    for step in (13, 60):
        watcher.at_step(step)
        fakes.pause(parts.name)
        paused = in_state(fakes, parts.name, job_pb2.JOB_STATE_PAUSED)
        assert paused.progress.step >= step
        fakes.resume(parts.name)
    events = watcher.wait()
    assert_gapless(events)
    assert states(events).count("PAUSED") == 2
    assert fakes.job(parts.name).attempt_count == 3
    for path in ("losses.json", "weights.npy"):
        assert artifact(fakes, parts.name, path) == artifact(fakes, whole.name, path)


def test_a_checkpoint_damaged_meanwhile_costs_only_the_steps_since_the_one_before(fakes: Platform) -> None:
    whole = fakes.train(fake_spec(SCRIPT, seed=6))
    fakes.watch(whole.name).wait()
    job = fakes.train(fake_spec(SCRIPT, seed=6))
    watcher = fakes.watch(job.name)
    watcher.at_step(30)
    fakes.pause(job.name)
    in_state(fakes, job.name, job_pb2.JOB_STATE_PAUSED)
    watcher.at_state(job_pb2.JOB_STATE_PAUSED)
    before, newest = [e.checkpoint.checkpoint for e in watcher.events if e.HasField("checkpoint")][-2:]
    store = FolderStore(fakes.root / "store", public_url="http://127.0.0.1:1")
    for file in newest.files:
        store.put(file.key, b"something else")
    fakes.resume(job.name)
    events = watcher.wait()
    assert_gapless(events)
    assert [e.warning.code for e in events if e.HasField("warning")] == ["checkpoint_damaged"]
    resumed = [e.state_change.resumed_from_step for e in events if e.state_change.resumed_from_step]
    assert resumed == [newest.step, before.step]
    assert states(events)[-1] == "SUCCEEDED"
    assert artifact(fakes, job.name, "weights.npy") == artifact(fakes, whole.name, "weights.npy")


def test_a_pause_is_recorded_only_with_its_checkpoint(fakes: Platform) -> None:
    job = fakes.train(fake_spec(SCRIPT))
    watcher = fakes.watch(job.name)
    watcher.at_step(30)
    fakes.pause(job.name)
    paused = in_state(fakes, job.name, job_pb2.JOB_STATE_PAUSED)
    watcher.at_state(job_pb2.JOB_STATE_PAUSED)
    before = [e for e in watcher.events if e.sequence < paused.last_sequence]
    saved = [e.checkpoint.checkpoint.step for e in before if e.HasField("checkpoint")]
    assert saved[-1] == paused.progress.step
    fakes.cancel(job.name)
    assert states(watcher.wait())[-2:] == ["PAUSED", "CANCELLED"]


def test_a_worker_killed_while_pausing_gives_paused_at_the_newest_checkpoint(fakes: Platform) -> None:
    job = fakes.train(fake_spec("steps=500,step_ms=5,save=20,save_ms=1500"))
    watcher = fakes.watch(job.name)
    watcher.wait_for(lambda events: any(e.HasField("checkpoint") for e in events))
    fakes.pause(job.name)
    for worker in fakes.workers():
        end(worker)
    paused = in_state(fakes, job.name, job_pb2.JOB_STATE_PAUSED)
    assert paused.desired == job_pb2.DESIRED_STATE_PAUSE
    fakes.cancel(job.name)
    watcher.wait()


def test_a_worker_killed_while_cancelling_gives_cancelled(fakes: Platform) -> None:
    job = fakes.train(fake_spec("steps=500,step_ms=5,ignore_cancel=1"))
    watcher = fakes.watch(job.name)
    watcher.at_step(5)
    fakes.cancel(job.name)
    for worker in fakes.workers():
        end(worker)
    assert states(watcher.wait())[-2:] == ["CANCELLING", "CANCELLED"]


@pytest.mark.parametrize(
    "moment", ["queued", "starting", "running", "hanging", "pausing", "paused", "finalizing"]
)
def test_cancel_in_every_state_ends_within_ten_seconds(fakes: Platform, moment: str) -> None:
    blocker = None
    script = {
        "starting": "steps=50,step_ms=5,prepare_ms=3000",
        "hanging": "steps=500,step_ms=5,hang_at=3",
        "pausing": "steps=500,step_ms=5,save_ms=4000",
        "finalizing": "steps=5,step_ms=5,finalize_ms=4000",
    }.get(moment, "steps=2000,step_ms=5")
    if moment == "queued":
        blocker = fakes.train(fake_spec("steps=2000,step_ms=5"))
        fakes.watch(blocker.name).at_step(1)
    job = fakes.train(fake_spec(script))
    watcher = fakes.watch(job.name)
    if moment in {"running", "pausing", "paused"}:
        watcher.at_step(5)
    if moment == "starting":
        in_state(fakes, job.name, job_pb2.JOB_STATE_STARTING, job_pb2.JOB_STATE_RUNNING)
    if moment == "hanging":
        watcher.at_step(2)
    if moment in {"pausing", "paused"}:
        fakes.pause(job.name)
    if moment == "paused":
        in_state(fakes, job.name, job_pb2.JOB_STATE_PAUSED)
    if moment == "finalizing":
        in_state(fakes, job.name, job_pb2.JOB_STATE_FINALIZING)
    fakes.cancel(job.name)
    events = watcher.wait()
    assert ended_after(events) < 10
    assert_gapless(events)
    assert states(events)[-1] == "CANCELLED"
    if blocker is not None:
        fakes.cancel(blocker.name)
    eventually(lambda: not fakes.workers(), within=60, what="the slot to come free")
    after = fakes.train(fake_spec("steps=3,step_ms=1"))
    assert states(fakes.watch(after.name).wait())[-1] == "SUCCEEDED"


def test_a_cancel_survives_the_death_of_the_gateway(fakes: Platform) -> None:
    job = fakes.train(fake_spec("steps=3000,step_ms=5"))
    watcher = fakes.watch(job.name)
    watcher.at_step(5)
    assert fakes.cancel(job.name).desired == job_pb2.DESIRED_STATE_CANCEL
    fakes.gateway.restart()
    assert states(watcher.wait())[-1] == "CANCELLED"


def test_a_cancel_ends_though_the_trainer_is_away(fakes: Platform) -> None:
    job = fakes.train(fake_spec("steps=3000,step_ms=5"))
    watcher = fakes.watch(job.name)
    watcher.at_step(5)
    fakes.trainer.kill(signal.SIGKILL)
    fakes.cancel(job.name)
    try:
        events = watcher.wait()
        assert states(events)[-1] == "CANCELLED"
        assert ended_after(events) < 12
    finally:
        fakes.trainer.start()
        fakes.wait_ready()


def test_a_crash_loop_ends_in_failed(fakes: Platform) -> None:
    job = fakes.train(fake_spec("steps=50,step_ms=1,crash_at=5,crash_attempts=9,save=100"))
    events = fakes.watch(job.name).wait(within=60)
    assert_gapless(events)
    failed = fakes.job(job.name)
    assert failed.state == job_pb2.JOB_STATE_FAILED
    assert failed.error.reason == 38, "CRASH_LOOP"
    assert failed.attempt_count == 3


def test_an_error_that_the_recipe_raises_is_not_retried(fakes: Platform) -> None:
    job = fakes.train(fake_spec("steps=50,step_ms=1,fail_at=5"))
    fakes.watch(job.name).wait(within=30)
    failed = fakes.job(job.name)
    assert (failed.state, failed.attempt_count) == (job_pb2.JOB_STATE_FAILED, 1)
    assert failed.error.message
    assert "/" not in failed.error.message, "no path of the server"


def test_a_terminal_job_can_be_neither_paused_nor_resumed(fakes: Platform) -> None:
    job = fakes.train(fake_spec("steps=3,step_ms=1"))
    fakes.watch(job.name).wait()
    assert fakes.job(job.name).state in TERMINAL
    for action in (fakes.pause, fakes.resume, fakes.cancel):
        with pytest.raises(Exception, match="FAILED_PRECONDITION"):
            action(job.name)
