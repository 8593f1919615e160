"""What one record of a run's journal does to its job: an event, a change of the job, rows beside it.

The translation is pure: it gathers what the transaction has to write, and `attempts` writes it.
"""

import math
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from tuneyard.gateway.edits import JobEdit
from tuneyard.gateway.transitions import FAILED, SUCCEEDED, Trigger
from tuneyard.rpc.names import artifact_name
from tuneyard.v1 import errors_pb2, event_pb2, job_pb2, trainer_service_pb2

MAX_WARNINGS: Final = 20

_STATE_RECORDS: Final = {
    "started": Trigger.STARTED,
    "finalizing": Trigger.FINALIZING,
    "paused": Trigger.PAUSED,
    "cancelled": Trigger.CANCELLED,
    "failed": Trigger.FAILED,
    "result": Trigger.RESULT,
}
_END_RECORDS: Final = {"paused", "cancelled", "failed", "result"}
# Records that become an event and nothing else.
_EVENT_ONLY: Final = {"sample", "log"}
_LEAST_IS_BEST: Final = ("loss", "perplexity")


@dataclass
class Batch:
    """What the records of one transaction add beside the job and its events."""

    edit: JobEdit
    attempt: int
    outcome: str = ""
    """How the attempt ended, once it has."""
    checkpoints: list[event_pb2.CheckpointEvent] = field(default_factory=list)
    artifacts: list[trainer_service_pb2.StoredArtifact] = field(default_factory=list)
    advanced: bool = False
    """True once a checkpoint lies beyond the step that the attempt began at."""
    fallback: event_pb2.Checkpoint | None = None
    """What to go on from where the checkpoint that the attempt began at is damaged."""
    damaged: job_pb2.ResumePoint | None = None
    """The checkpoint that is given up because the run found it damaged."""

    def apply(self, record: trainer_service_pb2.RunRecord) -> None:
        """Add one record. Whatever follows the record that ended the attempt is ignored."""
        kind = record.WhichOneof("body")
        if self.outcome or kind is None:
            return
        if self.fallback is not None and tells_of_damage(record) and not self.advanced:
            _apply_damage(self, record, self.fallback)
        elif kind in _EVENT_ONLY:
            self.edit.emit(at=record.time, **{kind: getattr(record, kind)})
        elif kind in _STATE_RECORDS:
            _apply_state(self, kind, record)
        else:
            _APPLY[kind](self, record)


def _apply_state(batch: Batch, kind: str, record: trainer_service_pb2.RunRecord) -> None:
    edit, job = batch.edit, batch.edit.job
    reason = ""
    error = None
    match kind:
        case "started":
            if not job.HasField("start_time"):
                job.start_time.CopyFrom(record.time)
            reason = f"running on {record.started.device}" if record.started.device else ""
        case "paused":
            reason = f"paused at step {record.paused.step}"
        case "failed":
            error = record.failed
            reason = error.message
        case "result":
            _apply_result(batch, record)
            reason = record.result.summary
    edit.move(_STATE_RECORDS[kind], at=record.time, reason=reason, error=error)
    if kind in _END_RECORDS:
        batch.outcome = {SUCCEEDED: "succeeded", FAILED: "failed"}.get(job.state, kind)


def tells_of_damage(record: trainer_service_pb2.RunRecord) -> bool:
    """True for the record of a run that could not go on from its checkpoint."""
    return (
        record.WhichOneof("body") == "failed"
        and record.failed.reason == errors_pb2.ERROR_REASON_CHECKPOINT_CORRUPT
    )


def _apply_damage(
    batch: Batch, record: trainer_service_pb2.RunRecord, fallback: event_pb2.Checkpoint
) -> None:
    """The attempt ends like a lost one, but is not counted: each gives up a checkpoint, so it ends."""
    edit = batch.edit
    batch.damaged = job_pb2.ResumePoint()
    batch.damaged.CopyFrom(edit.job.resumed_from)
    message = (
        f"the checkpoint of step {batch.damaged.step} is damaged and was given up; "
        f"the newest one left is that of step {fallback.step}"
    )
    warn(edit, event_pb2.WarningEvent(code="checkpoint_damaged", message=message), at=record.time)
    edit.move(Trigger.DAMAGED_CHECKPOINT, at=record.time, reason=record.failed.message)
    batch.outcome = "checkpoint_damaged"


def _apply_result(batch: Batch, record: trainer_service_pb2.RunRecord) -> None:
    result, job = record.result, batch.edit.job
    job.early_stopped = result.early_stopped
    for name, value in result.metrics.items():
        _summarize(batch, name, value, result.best_step or result.step)
    batch.edit.emit(at=record.time, result=result)


def _apply_metrics(batch: Batch, record: trainer_service_pb2.RunRecord) -> None:
    for name, value in record.metrics.values.items():
        _summarize(batch, name, value, record.metrics.step)
    batch.edit.emit(at=record.time, metrics=record.metrics)


def _summarize(batch: Batch, name: str, value: float, step: int) -> None:
    known = name in batch.edit.job.metrics
    summary = batch.edit.job.metrics[name]
    summary.latest = value
    if math.isnan(value) and known:
        return
    better = value < summary.best if name.endswith(_LEAST_IS_BEST) else value > summary.best
    if not known or better or math.isnan(summary.best):
        summary.best = value
        summary.best_step = step


def _apply_progress(batch: Batch, record: trainer_service_pb2.RunRecord) -> None:
    progress = batch.edit.job.progress
    stage = progress.stage
    progress.CopyFrom(record.progress)
    progress.stage = progress.stage or stage
    batch.edit.emit(at=record.time, progress=progress)


def _apply_stage(batch: Batch, record: trainer_service_pb2.RunRecord) -> None:
    if not record.stage.done:
        batch.edit.job.progress.stage = record.stage.name
    batch.edit.emit(at=record.time, stage=record.stage)


def _apply_checkpoint(batch: Batch, record: trainer_service_pb2.RunRecord) -> None:
    job = batch.edit.job
    event = event_pb2.CheckpointEvent()
    event.CopyFrom(record.checkpoint)
    event.checkpoint.attempt = batch.attempt
    event.checkpoint.available = True
    if not event.checkpoint.HasField("time"):
        event.checkpoint.time.CopyFrom(record.time)
    batch.checkpoints.append(event)
    if event.checkpoint.step > job.resumed_from.step or not job.HasField("resumed_from"):
        batch.advanced = True
        batch.edit.lost_in_a_row = 0
    batch.edit.emit(at=record.time, checkpoint=event)


def _apply_artifact(batch: Batch, record: trainer_service_pb2.RunRecord) -> None:
    stored = trainer_service_pb2.StoredArtifact()
    stored.CopyFrom(record.artifact)
    artifact = stored.artifact
    artifact.name = artifact_name(batch.edit.id, artifact.path)
    artifact.attempt = batch.attempt
    if not artifact.HasField("create_time"):
        artifact.create_time.CopyFrom(record.time)
    batch.artifacts.append(stored)
    batch.edit.emit(at=record.time, artifact=event_pb2.ArtifactEvent(artifact=artifact))


def _apply_warning(batch: Batch, record: trainer_service_pb2.RunRecord) -> None:
    warn(batch.edit, record.warning, at=record.time)


def _apply_advice(batch: Batch, record: trainer_service_pb2.RunRecord) -> None:
    _remember_warning(batch.edit, record.advice.observation)
    batch.edit.emit(at=record.time, advice=record.advice)


def _apply_oom_recovered(batch: Batch, record: trainer_service_pb2.RunRecord) -> None:
    batch.edit.job.micro_batch_halvings += 1
    batch.edit.emit(at=record.time, oom_recovered=record.oom_recovered)


def _apply_rolled_back(batch: Batch, record: trainer_service_pb2.RunRecord) -> None:
    """What was measured beyond the step is void: a best value among it is none."""
    metrics, back = batch.edit.job.metrics, record.rolled_back
    for name in [name for name in metrics if metrics[name].best_step > back.to_step]:
        del metrics[name]
    batch.edit.job.progress.step = back.to_step
    batch.edit.emit(at=record.time, rolled_back=back)


def _apply_peak_memory(batch: Batch, record: trainer_service_pb2.RunRecord) -> None:
    peak, seen = batch.edit.job.peak_memory, record.peak_memory
    peak.device_bytes = max(peak.device_bytes, seen.device_bytes)
    peak.host_bytes = max(peak.host_bytes, seen.host_bytes)


_APPLY: Final = {
    "stage": _apply_stage,
    "progress": _apply_progress,
    "metrics": _apply_metrics,
    "checkpoint": _apply_checkpoint,
    "warning": _apply_warning,
    "advice": _apply_advice,
    "oom_recovered": _apply_oom_recovered,
    "rolled_back": _apply_rolled_back,
    "artifact": _apply_artifact,
    "peak_memory": _apply_peak_memory,
}


def warn(edit: JobEdit, warning: event_pb2.WarningEvent, *, at: Timestamp | None = None) -> None:
    """Log a warning and keep it on the job."""
    _remember_warning(edit, warning.message)
    edit.emit(at=at, warning=warning)


def _remember_warning(edit: JobEdit, message: str) -> None:
    if message and message not in edit.job.warnings:
        edit.job.warnings.append(message)
        del edit.job.warnings[:-MAX_WARNINGS]
