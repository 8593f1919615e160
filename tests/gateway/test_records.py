"""What each record of a journal does to its job, without a database."""

import math
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tests.support.ledger import LedgerDriver, ManualClock
from tuneyard.gateway.edits import JobEdit
from tuneyard.gateway.records import MAX_WARNINGS, Batch
from tuneyard.v1 import event_pb2, job_pb2, trainer_service_pb2


@pytest.fixture
def batch() -> Batch:
    job = job_pb2.Job(
        name="jobs/1",
        spec=LedgerDriver.spec(),
        state=job_pb2.JOB_STATE_RUNNING,
        desired=job_pb2.DESIRED_STATE_RUN,
        attempt_count=2,
        last_sequence=10,
    )
    return Batch(JobEdit(job, ManualClock()()), 2)


def _apply(batch: Batch, **body: Any) -> None:
    batch.apply(trainer_service_pb2.RunRecord(time=Timestamp(seconds=99), **body))


def _metrics(batch: Batch, step: int, **values: float) -> None:
    named = {name.replace("_", "/"): value for name, value in values.items()}
    _apply(batch, metrics=event_pb2.MetricsEvent(step=step, values=named))


def test_every_kind_of_record_is_known() -> None:
    bodies = trainer_service_pb2.RunRecord.DESCRIPTOR.oneofs_by_name["body"].fields
    for field in bodies:
        edit = JobEdit(job_pb2.Job(name="jobs/1", state=job_pb2.JOB_STATE_RUNNING), ManualClock()())
        record = trainer_service_pb2.RunRecord()
        getattr(record, field.name).SetInParent()
        Batch(edit, 1).apply(record)


def test_events_carry_the_time_of_the_worker_and_the_next_sequences(batch: Batch) -> None:
    _apply(batch, log=event_pb2.LogEvent(message="a"))
    _apply(batch, sample=event_pb2.SampleEvent(title="b"))
    events = batch.edit.new_events
    assert [(event.sequence, event.time.seconds, event.attempt) for event in events] == [
        (11, 99, 2),
        (12, 99, 2),
    ]


def test_a_record_of_an_unknown_kind_is_passed_over(batch: Batch) -> None:
    batch.apply(trainer_service_pb2.RunRecord())
    assert batch.edit.new_events == []


def test_the_best_of_losses_and_perplexities_is_their_least_and_of_others_their_greatest(
    batch: Batch,
) -> None:
    for step, value in enumerate((0.5, 0.2, 0.4), start=1):
        _metrics(batch, step, eval_loss=value, eval_perplexity=value, eval_accuracy=value)
    metrics = batch.edit.job.metrics
    assert metrics["eval/perplexity"] == metrics["eval/loss"]
    assert metrics["eval/loss"] == job_pb2.MetricSummary(latest=0.4, best=0.2, best_step=2)
    assert metrics["eval/accuracy"] == job_pb2.MetricSummary(latest=0.4, best=0.5, best_step=1)


def test_not_a_number_is_never_the_best(batch: Batch) -> None:
    for step, value in enumerate((math.nan, 0.3, math.nan), start=1):
        _metrics(batch, step, train_loss=value)
    summary = batch.edit.job.metrics["train/loss"]
    assert math.isnan(summary.latest)
    assert (summary.best, summary.best_step) == (0.3, 2)


def test_progress_keeps_the_stage_that_began(batch: Batch) -> None:
    _apply(batch, stage=event_pb2.StageEvent(name="train"))
    _apply(batch, progress=job_pb2.ProgressEvent(step=5, total_steps=10, remaining=Duration(seconds=3)))
    _apply(batch, stage=event_pb2.StageEvent(name="train", done=True))
    assert batch.edit.job.progress.stage == "train"
    assert (batch.edit.job.progress.step, batch.edit.job.progress.remaining.seconds) == (5, 3)
    assert batch.edit.new_events[1].progress == batch.edit.job.progress


def test_peak_memory_only_grows_and_makes_no_event(batch: Batch) -> None:
    _apply(batch, peak_memory=job_pb2.MemoryUse(device_bytes=5, host_bytes=1))
    _apply(batch, peak_memory=job_pb2.MemoryUse(device_bytes=3, host_bytes=2))
    assert batch.edit.job.peak_memory == job_pb2.MemoryUse(device_bytes=5, host_bytes=2)
    assert batch.edit.new_events == []


def test_a_recovered_out_of_memory_halves_the_micro_batch_for_later_attempts(batch: Batch) -> None:
    _apply(batch, oom_recovered=event_pb2.OutOfMemoryRecoveredEvent(old_batch_size=8, new_batch_size=4))
    assert batch.edit.job.micro_batch_halvings == 1


def test_a_best_value_that_was_measured_beyond_a_rollback_is_none(batch: Batch) -> None:
    _metrics(batch, 4, eval_loss=0.5)
    _metrics(batch, 8, eval_accuracy=0.9)
    _apply(batch, rolled_back=event_pb2.RolledBackEvent(from_step=9, to_step=4))
    assert set(batch.edit.job.metrics) == {"eval/loss"}
    assert batch.edit.new_events[-1].rolled_back.to_step == batch.edit.job.progress.step == 4


def test_warnings_and_advice_are_kept_once_each_and_not_without_end(batch: Batch) -> None:
    for number in (1, 1, *range(2, MAX_WARNINGS + 5)):
        _apply(batch, warning=event_pb2.WarningEvent(code="c", message=f"warning {number}"))
    _apply(batch, advice=event_pb2.AdviceEvent(observation="overfitting"))
    warnings = list(batch.edit.job.warnings)
    assert len(warnings) == len(set(warnings)) == MAX_WARNINGS
    assert warnings[-1] == "overfitting"


def test_nothing_follows_the_record_that_ended_the_attempt(batch: Batch) -> None:
    _apply(batch, result=event_pb2.ResultEvent(summary="done"))
    _apply(batch, log=event_pb2.LogEvent(message="late"))
    assert batch.outcome == "succeeded"
    assert [event.WhichOneof("body") for event in batch.edit.new_events] == ["result", "state_change"]


def test_a_start_time_is_that_of_the_first_attempt(batch: Batch) -> None:
    batch.edit.job.start_time.seconds = 5
    _apply(batch, started=trainer_service_pb2.RunStarted(device="cpu"))
    assert batch.edit.job.start_time.seconds == 5
