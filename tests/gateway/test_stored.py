"""What a job has in the store: checkpoints saved, given up and found damaged; artifacts replaced."""

from datetime import timedelta

import pytest

from tests.support.ledger import LedgerDriver
from tuneyard.gateway.garbage import GarbageRepository
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import errors_pb2, job_pb2


async def _damaged(ledger: LedgerDriver, name: str, attempt: int) -> job_pb2.Job:
    """The job after its attempt found its checkpoint damaged."""
    error = errors_pb2.JobError(reason=errors_pb2.ERROR_REASON_CHECKPOINT_CORRUPT, message="bytes differ")
    await ledger.write(name, attempt, ledger.started(), {"failed": error})
    return await ledger.jobs.get(name)


async def _resumed(ledger: LedgerDriver, *steps: int) -> tuple[str, int]:
    """A job whose second attempt goes on from the last of these checkpoints."""
    name, attempt = await ledger.running()
    await ledger.write(name, attempt, *(ledger.checkpoint(step) for step in steps))
    await ledger.lose(name, attempt)
    return name, await ledger.open(name)


async def test_a_damaged_checkpoint_is_given_up_for_the_next_older_one(ledger: LedgerDriver) -> None:
    name, attempt = await _resumed(ledger, 10, 20)
    job = await _damaged(ledger, name, attempt)
    assert (job.state, job.HasField("error")) == (job_pb2.JOB_STATE_QUEUED, False)
    assert [each.step for each in await ledger.jobs.kept_checkpoints(name)] == [10]
    warning, change = (await ledger.log(name))[-2:]
    assert warning.warning.code == "checkpoint_damaged"
    assert "step 20" in warning.warning.message and "step 10" in warning.warning.message
    assert warning.warning.message in job.warnings
    assert change.state_change.reason == "bytes differ"
    await ledger.open(name)
    assert (await ledger.jobs.get(name)).resumed_from == job_pb2.ResumePoint(attempt=1, step=10)


async def test_a_job_fails_when_its_last_checkpoint_is_damaged(ledger: LedgerDriver) -> None:
    name, attempt = await _resumed(ledger, 10, 20)
    await _damaged(ledger, name, attempt)
    job = await _damaged(ledger, name, await ledger.open(name))
    assert job.state == job_pb2.JOB_STATE_FAILED
    assert job.error.reason == errors_pb2.ERROR_REASON_CHECKPOINT_CORRUPT
    assert await ledger.jobs.open_attempts() == []


async def test_damaged_checkpoints_are_no_crash_loop(ledger: LedgerDriver) -> None:
    name, attempt = await _resumed(ledger, 10, 20, 30, 40, 50)
    for _ in range(4):
        assert (await _damaged(ledger, name, attempt)).state == job_pb2.JOB_STATE_QUEUED
        attempt = await ledger.open(name)
    await ledger.lose(name, attempt)
    assert (await ledger.states(name))[-1] == "QUEUED"


@pytest.mark.parametrize(("wish", "expected"), [("pause", "PAUSED"), ("cancel", "CANCELLED")])
async def test_a_damaged_checkpoint_meets_what_the_user_wanted(
    ledger: LedgerDriver, wish: str, expected: str
) -> None:
    name, attempt = await _resumed(ledger, 10, 20)
    await getattr(ledger.jobs, f"request_{wish}")(name)
    job = await _damaged(ledger, name, attempt)
    assert job_pb2.JobState.Name(job.state) == f"JOB_STATE_{expected}"
    assert [each.step for each in await ledger.jobs.kept_checkpoints(name)] == [10]


async def test_damage_in_a_first_attempt_fails_the_job(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    assert (await _damaged(ledger, name, attempt)).state == job_pb2.JOB_STATE_FAILED


async def test_damage_found_by_a_run_that_got_further_fails_the_job(ledger: LedgerDriver) -> None:
    name, attempt = await _resumed(ledger, 10, 20)
    await ledger.write(name, attempt, ledger.started(), ledger.checkpoint(30))
    assert (await _damaged(ledger, name, attempt)).state == job_pb2.JOB_STATE_FAILED
    assert [each.step for each in await ledger.jobs.kept_checkpoints(name)] == [10, 20, 30]


async def test_the_bytes_of_a_damaged_checkpoint_are_kept_for_a_day(ledger: LedgerDriver) -> None:
    name, attempt = await _resumed(ledger, 10, 20)
    await _damaged(ledger, name, attempt)
    prefix, garbage = f"{name}/attempts/1/checkpoints/{20:010d}/", GarbageRepository(ledger.db)
    ledger.clock.advance(timedelta(hours=23))
    assert await garbage.due(ledger.clock()) == []
    ledger.clock.advance(timedelta(hours=2))
    assert prefix in await garbage.due(ledger.clock())


async def test_superseded_checkpoints_become_garbage_and_the_best_moves_on(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    await ledger.write(name, attempt, ledger.checkpoint(1, best=True), ledger.checkpoint(2))
    await ledger.write(name, attempt, ledger.checkpoint(3, superseded=((1, 1), (1, 2)), best=True))
    found = [(each.step, each.available, each.best) for each in await ledger.jobs.checkpoints(name)]
    assert found == [(1, False, False), (2, False, False), (3, True, True)]
    assert [each.step for each in await ledger.jobs.kept_checkpoints(name)] == [3]
    garbage = GarbageRepository(ledger.db)
    assert await garbage.due(ledger.clock()) == []
    ledger.clock.advance(timedelta(minutes=2))
    due = await garbage.due(ledger.clock())
    assert due == [f"{name}/attempts/1/checkpoints/{step:010d}/" for step in (1, 2)]
    await garbage.forget(due[0])
    assert await garbage.due(ledger.clock()) == due[1:]


async def test_a_checkpoint_saved_again_is_no_garbage(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    await ledger.write(name, attempt, ledger.checkpoint(1), ledger.checkpoint(2, superseded=((1, 1),)))
    await ledger.write(name, attempt, ledger.checkpoint(1))
    ledger.clock.advance(timedelta(minutes=2))
    assert await GarbageRepository(ledger.db).due(ledger.clock()) == []
    assert [each.step for each in await ledger.jobs.kept_checkpoints(name)] == [1, 2]


async def test_an_artifact_of_a_later_attempt_replaces_the_one_at_its_path(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    await ledger.write(name, attempt, ledger.artifact("model/a", key="jobs/1/a"))
    await ledger.lose(name, attempt)
    second = await ledger.open(name)
    await ledger.write(name, second, ledger.started(), ledger.artifact("model/a", key="jobs/2/a"))
    artifact, file = await ledger.jobs.artifact(name, "model/a")
    assert (artifact.name, artifact.attempt) == (f"{name}/artifacts/model/a", 2)
    assert (file.key, len(await ledger.jobs.artifacts(name))) == ("jobs/2/a", 1)
    (stored,) = await ledger.jobs.stored_artifacts(name)
    assert (stored.path, stored.key) == ("model/a", "jobs/2/a")
    ledger.clock.advance(timedelta(minutes=2))
    assert await GarbageRepository(ledger.db).due(ledger.clock()) == ["jobs/1/a"]
    with pytest.raises(TuneyardError, match="ARTIFACT_NOT_FOUND"):
        await ledger.jobs.artifact(name, "model/b")


async def test_a_step_saved_anew_after_a_rollback_replaces_what_it_had(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    folder = f"{name}/attempts/1/checkpoints/"
    await ledger.write(name, attempt, ledger.checkpoint(10), ledger.checkpoint(20))
    anew = ledger.checkpoint(10, superseded=((1, 20),), key=f"{folder}0000000010-2/state")
    await ledger.write(name, attempt, ledger.rolled_back(25, 10), anew)
    (kept,) = await ledger.jobs.kept_checkpoints(name)
    assert (kept.step, kept.files[0].key) == (10, f"{folder}0000000010-2/state")
    ledger.clock.advance(timedelta(minutes=2))
    due = await GarbageRepository(ledger.db).due(ledger.clock())
    assert due == [f"{folder}0000000010/", f"{folder}0000000020/"]
