"""Jobs as the guide's clients know them: tasks, with five states and plain numbers."""

from collections.abc import Mapping
from typing import Any, Final

from tuneyard.v1 import job_pb2

PENDING: Final = (
    job_pb2.JOB_STATE_QUEUED,
    job_pb2.JOB_STATE_STARTING,
    job_pb2.JOB_STATE_PAUSING,
    job_pb2.JOB_STATE_PAUSED,
)
RUNNING: Final = (job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_FINALIZING, job_pb2.JOB_STATE_CANCELLING)
ENDED: Final = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)

_STATUS: Final[Mapping[int, str]] = {
    **dict.fromkeys(PENDING, "pending"),
    **dict.fromkeys(RUNNING, "running"),
    job_pb2.JOB_STATE_SUCCEEDED: "completed",
    job_pb2.JOB_STATE_FAILED: "failed",
    job_pb2.JOB_STATE_CANCELLED: "cancelled",
}


def task_id(job: job_pb2.Job) -> str:
    """The job's id."""
    return job.name.removeprefix("jobs/")


def status(state: int) -> str:
    """The guide's word; states of a newer server are "running"."""
    return _STATUS.get(state, "running")


def task(job: job_pb2.Job) -> dict[str, Any]:
    """A task; times are ISO 8601 in UTC, null where there is none."""
    progress = job.progress
    done = job.state == job_pb2.JOB_STATE_SUCCEEDED
    return {
        "task_id": task_id(job),
        "status": status(job.state),
        "progress": 100.0 if done else round(100 * progress.fraction, 2),
        "current_epoch": progress.epoch,
        "total_epochs": progress.total_epochs,
        "current_step": progress.step,
        "total_steps": progress.total_steps or job.planned_steps,
        "loss": _latest(job, "train/loss"),
        "learning_rate": _latest(job, "train/learning_rate"),
        "metrics": {name: summary.latest for name, summary in job.metrics.items()},
        "error": " ".join((job.error.message, *job.error.remedies)) if job.HasField("error") else None,
        "started_at": _time(job, "start_time"),
        "completed_at": _time(job, "end_time"),
        "message": _message(job),
    }


def _latest(job: job_pb2.Job, name: str) -> float | None:
    return job.metrics[name].latest if name in job.metrics else None


def _time(job: job_pb2.Job, name: str) -> str | None:
    return getattr(job, name).ToJsonString() if job.HasField(name) else None  # type: ignore[arg-type]


def _message(job: job_pb2.Job) -> str:
    """The exact state, and what it waits for or does."""
    state = job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_")
    if job.waiting_for:
        return f"{state}: waiting for {job.waiting_for}"
    if job.state == job_pb2.JOB_STATE_QUEUED and job.queue_position:
        return f"{state}: number {job.queue_position} in the queue"
    return f"{state}: {job.progress.stage}" if job.state in RUNNING and job.progress.stage else state
