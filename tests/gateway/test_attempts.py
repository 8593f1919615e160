"""Attempts: opened, fed by a journal, closed. On SQLite and on PostgreSQL."""

import pytest

from tests.support.ledger import LedgerDriver
from tuneyard.gateway import paging
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


async def test_metric_events_are_read_with_the_rollbacks_that_void_them(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    await ledger.write(name, attempt, ledger.metrics(2, train_loss=2.0), ledger.rolled_back(2, 1))
    events = await ledger.jobs.metric_events_after(name.removeprefix("jobs/"), 3, 10)
    assert [event.WhichOneof("body") for event in events] == ["metrics", "rolled_back"]


async def test_events_of_some_kinds_are_listed_page_by_page(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    logs = [{"log": event_pb2.LogEvent(message=text)} for text in ("one", "two")]
    await ledger.write(name, attempt, logs[0], ledger.metrics(1, train_loss=2.0), logs[1])
    [first], after_first = await ledger.jobs.listed_events(name, kinds=["log"], after=0, limit=1)
    [second], after_second = await ledger.jobs.listed_events(name, kinds=["log"], after=after_first, limit=1)
    assert (first.log.message, second.log.message) == ("one", "two")
    assert (after_first, after_second) == (first.sequence, 0)
    everything, _ = await ledger.jobs.listed_events(name, kinds=[], after=0, limit=100)
    assert [event.sequence for event in everything] == list(range(1, len(everything) + 1))
    with pytest.raises(TuneyardError) as caught:
        await ledger.jobs.listed_events("jobs/none", kinds=[], after=0, limit=1)
    assert caught.value.reason == "JOB_NOT_FOUND"


async def test_a_page_of_large_events_has_a_size_that_clients_take(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    texts = [letter * 700_000 for letter in "abc"]
    await ledger.write(name, attempt, *({"log": event_pb2.LogEvent(message=text)} for text in texts))
    found, after = [], 0
    for _ in texts:
        events, after = await ledger.jobs.listed_events(name, kinds=["log"], after=after, limit=10)
        assert sum(event.ByteSize() for event in events) <= paging.PAGE_BYTES
        found += [event.log.message for event in events]
    assert (found, after) == (texts, 0)
