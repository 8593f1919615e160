"""Attempts: opened, fed by a journal, closed. On SQLite and on PostgreSQL."""

from datetime import timedelta

import pytest

from tests.support.ledger import LedgerDriver
from tuneyard.gateway.db import Database
from tuneyard.gateway.garbage import GarbageRepository
from tuneyard.gateway.jobs import RunSequenceGap
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import errors_pb2, event_pb2, job_pb2, trainer_service_pb2


async def test_opening_an_attempt_makes_the_job_starting_on_that_trainer(ledger: LedgerDriver) -> None:
    name = await ledger.create()
    opened = await ledger.jobs.open_attempt(ledger.epoch, name, trainer_id="t1", address="host:1")
    assert opened is not None
    job, attempt = opened
    assert (job.state, job.attempt_count, job.trainer, attempt) == (job_pb2.JOB_STATE_STARTING, 1, "t1", 1)
    (open_,) = await ledger.jobs.open_attempts()
    assert (open_.job, open_.attempt, open_.trainer_id, open_.trainer_address) == (name, 1, "t1", "host:1")
    assert (open_.run_sequence, open_.state, open_.desired) == (0, job.state, job_pb2.DESIRED_STATE_RUN)
    change = (await ledger.log(name))[-1].state_change
    assert (change.trainer, change.HasField("resumed_from_step")) == ("t1", False)


async def test_only_a_queued_job_gets_an_attempt(ledger: LedgerDriver) -> None:
    name = await ledger.create()
    await ledger.jobs.request_pause(name)
    assert await ledger.jobs.open_attempt(ledger.epoch, name, trainer_id="t", address="a") is None
    assert await ledger.jobs.open_attempt(ledger.epoch, "jobs/none", trainer_id="t", address="a") is None


async def test_a_refused_attempt_is_not_counted(ledger: LedgerDriver) -> None:
    name = await ledger.create()
    attempt = await ledger.open(name)
    job = await ledger.jobs.withdraw_attempt(ledger.epoch, name, attempt)
    assert (job.state, job.attempt_count, job.trainer) == (job_pb2.JOB_STATE_QUEUED, 0, "")
    assert await ledger.jobs.open_attempts() == []
    assert await ledger.open(name) == 1


@pytest.mark.parametrize(("wish", "expected"), [("pause", "PAUSED"), ("cancel", "CANCELLED")])
async def test_a_refused_attempt_heeds_what_the_user_wanted_meanwhile(
    ledger: LedgerDriver, wish: str, expected: str
) -> None:
    name = await ledger.create()
    attempt = await ledger.open(name)
    await getattr(ledger.jobs, f"request_{wish}")(name)
    job = await ledger.jobs.withdraw_attempt(ledger.epoch, name, attempt)
    assert job_pb2.JobState.Name(job.state) == f"JOB_STATE_{expected}"


async def test_an_attempt_that_has_records_cannot_be_withdrawn(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    with pytest.raises(TuneyardError, match="STALE_ATTEMPT"):
        await ledger.jobs.withdraw_attempt(ledger.epoch, name, attempt)


async def test_a_run_from_start_to_result_succeeds(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    finalizing = {"finalizing": trainer_service_pb2.RunFinalizing()}
    result = ledger.result(metrics={"eval/accuracy": 0.9}, early_stopped=True, step=7, best_step=5)
    await ledger.write(name, attempt, finalizing, result)
    assert await ledger.states(name) == ["QUEUED", "STARTING", "RUNNING", "FINALIZING", "SUCCEEDED"]
    job = await ledger.jobs.get(name)
    assert job.early_stopped and job.HasField("start_time") and job.HasField("end_time")
    assert job.metrics["eval/accuracy"] == job_pb2.MetricSummary(latest=0.9, best=0.9, best_step=5)
    assert await ledger.jobs.open_attempts() == []
    assert [event.WhichOneof("body") for event in await ledger.log(name)][-2:] == ["result", "state_change"]


async def test_a_failed_record_ends_the_job_with_its_error(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    error = errors_pb2.JobError(reason=errors_pb2.ERROR_REASON_DIVERGED, message="NaN", stage="train")
    await ledger.write(name, attempt, {"failed": error})
    job = await ledger.jobs.get(name)
    assert (job.state, job.error) == (job_pb2.JOB_STATE_FAILED, error)
    assert (await ledger.log(name))[-1].state_change.error == error


async def test_repeated_and_overlapping_records_are_committed_once(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    records = [ledger.record(n, **ledger.metrics(n, train_loss=1 / n)) for n in range(2, 8)]
    commit = ledger.jobs.commit_records
    await commit(ledger.epoch, name, attempt, records[:4])
    repeated = await commit(ledger.epoch, name, attempt, records[1:3])
    assert repeated is not None and repeated.events == () and repeated.job.name == name
    overlapping = await commit(ledger.epoch, name, attempt, records[2:])
    assert overlapping is not None and [event.metrics.step for event in overlapping.events] == [6, 7]
    steps = [event.metrics.step for event in await ledger.log(name) if event.HasField("metrics")]
    assert steps == [2, 3, 4, 5, 6, 7]


async def test_a_gap_in_the_journal_is_refused_and_commits_nothing(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    before = await ledger.log(name)
    record = ledger.record(3, **ledger.metrics(1, train_loss=1))
    with pytest.raises(RunSequenceGap) as raised:
        await ledger.jobs.commit_records(ledger.epoch, name, attempt, [record])
    assert raised.value.expected == 2
    assert await ledger.log(name) == before


async def test_what_a_closed_attempt_still_sends_is_refused(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    await ledger.lose(name, attempt)
    before = await ledger.log(name)
    assert await ledger.write(name, attempt, ledger.result()) is None
    assert await ledger.lose(name, attempt) is None
    assert await ledger.write(name, await ledger.open(name), ledger.started()) is not None
    assert await ledger.write(name, attempt, ledger.result()) is None
    assert (await ledger.log(name))[: len(before)] == before


async def test_every_call_of_an_old_controller_is_refused(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    queued = await ledger.create()
    old, jobs = ledger.epoch, ledger.jobs
    await ledger.lead()
    before = await ledger.log(name)
    record = ledger.record(2, **ledger.metrics(1, train_loss=1))
    for call in (
        jobs.commit_records(old, name, attempt, [record]),
        jobs.close_attempt(old, name, attempt, exit=None, cause="x"),
        jobs.open_attempt(old, queued, trainer_id="t", address="a"),
        jobs.withdraw_attempt(old, name, attempt),
        jobs.fail(old, name, errors_pb2.JobError()),
        jobs.set_resolved(old, name, job_pb2.Estimate()),
        jobs.set_waiting_for(old, queued, "x"),
    ):
        with pytest.raises(TuneyardError, match="STALE_CONTROLLER"):
            await call
    assert await ledger.log(name) == before


async def test_a_pause_is_committed_with_its_checkpoint_and_resumed_from_it(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    assert (await ledger.jobs.request_pause(name)).state == job_pb2.JOB_STATE_PAUSING
    (open_,) = await ledger.jobs.open_attempts()
    assert open_.desired == job_pb2.DESIRED_STATE_PAUSE
    await ledger.write(name, attempt, ledger.checkpoint(40), ledger.paused(40))
    assert (await ledger.jobs.get(name)).state == job_pb2.JOB_STATE_PAUSED
    await ledger.jobs.request_resume(name)
    assert await ledger.open(name) == 2
    job = await ledger.jobs.get(name)
    assert job.resumed_from == job_pb2.ResumePoint(attempt=1, step=40)
    assert (await ledger.log(name))[-1].state_change.resumed_from_step == 40


async def test_a_job_resumed_while_it_pauses_is_queued_once_it_has(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    await ledger.jobs.request_pause(name)
    assert (await ledger.jobs.request_resume(name)).state == job_pb2.JOB_STATE_PAUSING
    await ledger.write(name, attempt, ledger.checkpoint(3), ledger.paused(3))
    assert (await ledger.jobs.get(name)).state == job_pb2.JOB_STATE_QUEUED


@pytest.mark.parametrize(
    ("wish", "end", "expected"),
    [
        ("pause", "result", "SUCCEEDED"),
        ("pause", "lost", "PAUSED"),
        ("cancel", "result", "SUCCEEDED"),
        ("cancel", "paused", "CANCELLED"),
        ("cancel", "cancelled", "CANCELLED"),
        ("cancel", "lost", "CANCELLED"),
    ],
)
async def test_the_end_of_a_run_meets_what_the_user_wanted(
    ledger: LedgerDriver, wish: str, end: str, expected: str
) -> None:
    name, attempt = await ledger.running()
    await getattr(ledger.jobs, f"request_{wish}")(name)
    if end == "lost":
        await ledger.lose(name, attempt)
    else:
        await ledger.write(name, attempt, getattr(ledger, end)())
    assert (await ledger.states(name))[-1] == expected
    assert await ledger.jobs.open_attempts() == []


async def test_a_finalizing_job_takes_a_pause_and_succeeds_all_the_same(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    await ledger.write(name, attempt, {"finalizing": trainer_service_pb2.RunFinalizing()})
    job = await ledger.jobs.request_pause(name)
    assert (job.state, job.desired) == (job_pb2.JOB_STATE_FINALIZING, job_pb2.DESIRED_STATE_PAUSE)
    await ledger.write(name, attempt, ledger.result())
    assert (await ledger.states(name))[-2:] == ["FINALIZING", "SUCCEEDED"]


async def test_a_lost_attempt_queues_the_job_again_from_its_newest_checkpoint(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    await ledger.write(name, attempt, ledger.checkpoint(10), ledger.checkpoint(20, superseded=((1, 10),)))
    await ledger.lose(name, attempt)
    newest = (await ledger.jobs.kept_checkpoints(name))[-1]
    assert (newest.attempt, newest.step) == (1, 20)
    await ledger.open(name)
    change = (await ledger.log(name))[-1].state_change
    assert (change.to, change.resumed_from_step) == (job_pb2.JOB_STATE_STARTING, 20)


async def test_a_second_attempt_without_a_checkpoint_says_that_it_begins_at_0(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    await ledger.lose(name, attempt)
    await ledger.open(name)
    change = (await ledger.log(name))[-1].state_change
    assert change.HasField("resumed_from_step") and change.resumed_from_step == 0
    assert not (await ledger.jobs.get(name)).HasField("resumed_from")


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


async def _lose_again(ledger: LedgerDriver, name: str, *bodies: dict[str, object]) -> str:
    attempt = await ledger.open(name)
    await ledger.write(name, attempt, ledger.started(), *bodies)
    await ledger.lose(name, attempt, exit_code=1)
    return (await ledger.states(name))[-1]


async def test_three_losses_in_a_row_without_a_checkpoint_are_a_crash_loop(ledger: LedgerDriver) -> None:
    name = await ledger.create()
    assert [await _lose_again(ledger, name) for _ in range(3)] == ["QUEUED", "QUEUED", "FAILED"]
    error = (await ledger.jobs.get(name)).error
    assert error.reason == errors_pb2.ERROR_REASON_CRASH_LOOP
    assert "it was lost" in error.message


async def test_a_new_checkpoint_ends_the_count_of_losses(ledger: LedgerDriver) -> None:
    name = await ledger.create()
    states = [await _lose_again(ledger, name) for _ in range(2)]
    states += [await _lose_again(ledger, name, ledger.checkpoint(5))]
    states += [await _lose_again(ledger, name) for _ in range(3)]
    assert states == ["QUEUED"] * 5 + ["FAILED"]


async def test_a_checkpoint_that_repeats_an_old_step_is_no_progress(ledger: LedgerDriver) -> None:
    name = await ledger.create()
    states = [await _lose_again(ledger, name, ledger.checkpoint(5)) for _ in range(4)]
    assert states == ["QUEUED", "QUEUED", "QUEUED", "FAILED"]


async def test_resuming_a_paused_job_begins_the_count_anew(ledger: LedgerDriver) -> None:
    name = await ledger.create()
    states = [await _lose_again(ledger, name) for _ in range(2)]
    await ledger.jobs.request_pause(name)
    await ledger.jobs.request_resume(name)
    states += [await _lose_again(ledger, name) for _ in range(3)]
    assert states == ["QUEUED"] * 4 + ["FAILED"]


async def test_the_number_of_losses_is_a_setting(db: Database) -> None:
    driver = LedgerDriver(db, max_lost_attempts=1)
    await driver.lead()
    name, attempt = await driver.running()
    await driver.lose(name, attempt)
    assert (await driver.states(name))[-1] == "FAILED"


async def test_out_of_memory_halves_the_micro_batch_until_it_is_one_sample(ledger: LedgerDriver) -> None:
    name = await ledger.create(batch_size=4)
    for halvings, expected in ((1, "QUEUED"), (2, "QUEUED"), (2, "FAILED")):
        attempt = await ledger.open(name)
        await ledger.lose(name, attempt, signal=9, out_of_memory=True)
        assert (await ledger.states(name))[-1] == expected
        assert (await ledger.jobs.get(name)).micro_batch_halvings == halvings
    error = (await ledger.jobs.get(name)).error
    assert error.reason == errors_pb2.ERROR_REASON_OUT_OF_MEMORY
    words = ["batch_size", "gradient checkpointing", "image size", "base model"]
    assert [word in remedy for word, remedy in zip(words, error.remedies, strict=True)] == [True] * 4


async def test_out_of_memory_while_pausing_leaves_the_job_paused(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running(batch_size=1)
    await ledger.jobs.request_pause(name)
    await ledger.lose(name, attempt, signal=9, out_of_memory=True)
    job = await ledger.jobs.get(name)
    assert (job.state, job.HasField("error")) == (job_pb2.JOB_STATE_PAUSED, False)


async def test_a_job_that_the_gateway_cannot_run_fails_wherever_it_is(ledger: LedgerDriver) -> None:
    error = errors_pb2.JobError(reason=errors_pb2.ERROR_REASON_DATASET_INVALID, message="no images")
    queued = await ledger.create()
    running, _ = await ledger.running()
    for name in (queued, running):
        committed = await ledger.jobs.fail(ledger.epoch, name, error)
        assert committed is not None and committed.job.error == error
        assert await ledger.jobs.fail(ledger.epoch, name, error) is None
    assert await ledger.jobs.open_attempts() == []
    paused = await ledger.create()
    await ledger.jobs.request_pause(paused)
    assert await ledger.jobs.fail(ledger.epoch, paused, error) is None


async def test_metric_events_are_read_with_the_starts_that_void_them(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    await ledger.write(
        name,
        attempt,
        ledger.metrics(1, train_loss=2.0),
        {"log": event_pb2.LogEvent(message="hello")},
        ledger.metrics(2, train_loss=1.0),
    )
    events = await ledger.jobs.metric_events_after(name.removeprefix("jobs/"), 3, 10)
    assert [event.metrics.step for event in events] == [1, 2]
    await ledger.lose(name, attempt)
    await ledger.open(name)
    after = await ledger.jobs.metric_events_after(name.removeprefix("jobs/"), events[-1].sequence, 10)
    assert [event.state_change.to for event in after] == [
        job_pb2.JOB_STATE_QUEUED,
        job_pb2.JOB_STATE_STARTING,
    ]
