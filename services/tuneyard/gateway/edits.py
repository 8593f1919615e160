"""One job, locked in a transaction, while it is being changed: it gathers events and is written once.

Here alone a sequence is given to an event and a state to a job, so that every log is gap-free and every state
was reached by the table in `transitions`.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Self

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tuneyard.gateway import events, transitions
from tuneyard.gateway.clock import to_micros
from tuneyard.gateway.kinds import slot_kind, task_kind
from tuneyard.gateway.schema import job_labels, jobs
from tuneyard.gateway.transitions import Trigger
from tuneyard.rpc.names import job_id
from tuneyard.v1 import errors_pb2, event_pb2, job_pb2

_LOCK = (
    select(jobs.c.blob, jobs.c.lost_in_a_row, jobs.c.version)
    .where(jobs.c.id == bindparam("job_id"))
    .with_for_update()
)
_UPDATE = (
    update(jobs)
    .where(jobs.c.id == bindparam("job_id"), jobs.c.version == bindparam("old_version"))
    .values(
        state=bindparam("new_state"),
        desired=bindparam("new_desired"),
        update_time=bindparam("now"),
        last_sequence=bindparam("sequence"),
        attempt_count=bindparam("attempts"),
        lost_in_a_row=bindparam("lost"),
        dataset=bindparam("used_dataset"),
        base_model=bindparam("used_model"),
        version=bindparam("old_version") + 1,
        blob=bindparam("content"),
    )
)


NEW: Final = -1
"""The version of a job that is not in the database yet."""


@dataclass(frozen=True)
class Committed:
    """What one transaction did to one job."""

    job: job_pb2.Job
    """The job afterwards, without its place in the queue. Not to be changed: it is shared."""
    events: tuple[event_pb2.JobEvent, ...]
    chunks: tuple[bytes, ...]
    """For each event its bytes as an entry of `WatchJobResponse.events`: joined, they are a response."""


def timestamp(moment: datetime) -> Timestamp:
    """The message for an aware datetime."""
    message = Timestamp()
    message.FromMicroseconds(to_micros(moment))
    return message


@dataclass
class JobEdit:
    """A job under change. Reads go to `job`; its state and its log are changed by `move` and `emit` alone."""

    job: job_pb2.Job
    now: datetime
    lost_in_a_row: int = 0
    version: int = NEW
    new_events: list[event_pb2.JobEvent] = field(default_factory=list)

    @classmethod
    async def lock(cls, connection: AsyncConnection, name: str, now: datetime) -> Self | None:
        """Read a job and keep others from changing it until the transaction ends; None if there is none."""
        row = (await connection.execute(_LOCK, {"job_id": job_id(name)})).one_or_none()
        if row is None:
            return None
        job = job_pb2.Job.FromString(row.blob)
        return cls(job, now, lost_in_a_row=row.lost_in_a_row, version=row.version)

    @property
    def id(self) -> str:
        return job_id(self.job.name)

    @property
    def terminal(self) -> bool:
        return self.job.state in transitions.TERMINAL

    def emit(self, *, at: Timestamp | None = None, **body: Any) -> None:
        """Append an event to the job's log; `body` is one field of JobEvent's `body`."""
        self.job.last_sequence += 1
        self.new_events.append(
            event_pb2.JobEvent(
                sequence=self.job.last_sequence,
                time=at or timestamp(self.now),
                attempt=self.job.attempt_count,
                **body,
            )
        )

    def move(
        self,
        trigger: Trigger,
        *,
        at: Timestamp | None = None,
        reason: str = "",
        error: errors_pb2.JobError | None = None,
        resumed_from_step: int | None = None,
    ) -> bool:
        """Take the edge of the table, log a change of state, and tell whether there was one.

        Raises ForbiddenTransition. `error` becomes the job's where the edge leads to FAILED.
        """
        before, desired = self.job.state, self.job.desired
        after = transitions.next_state(before, trigger, desired=desired)
        self.job.desired = transitions.next_desired(trigger, desired=desired)
        if after == before:
            return False
        self.job.state = after
        change = event_pb2.StateChangeEvent(to=after, reason=reason, resumed_from_step=resumed_from_step)
        setattr(change, "from", before)
        if after == transitions.FAILED and error is not None:
            self.job.error.CopyFrom(error)
            change.error.CopyFrom(error)
        if after == transitions.STARTING:
            change.trainer = self.job.trainer
        if after in transitions.TERMINAL:
            self.job.end_time.CopyFrom(at or timestamp(self.now))
        if after != transitions.QUEUED:
            self.job.waiting_for = ""
        self.emit(at=at, state_change=change)
        return True

    async def save(self, connection: AsyncConnection) -> Committed:
        """Write the job and its new events. Raises RuntimeError if another transaction got in between."""
        if self.version == NEW:
            await self._insert(connection)
            chunks = await events.append(connection, self.id, self.new_events)
            return Committed(self.job, tuple(self.new_events), chunks)
        chunks = await events.append(connection, self.id, self.new_events)
        result = await connection.execute(
            _UPDATE,
            {
                "job_id": self.id,
                "old_version": self.version,
                "new_state": self.job.state,
                "new_desired": self.job.desired,
                "now": to_micros(self.now),
                "sequence": self.job.last_sequence,
                "attempts": self.job.attempt_count,
                "lost": self.lost_in_a_row,
                "used_dataset": used_dataset(self.job),
                "used_model": _used_model(self.job),
                "content": self.job.SerializeToString(),
            },
        )
        if result.rowcount != 1:
            raise RuntimeError(f"{self.job.name} was changed by another transaction while it was locked")
        return Committed(self.job, tuple(self.new_events), chunks)

    async def _insert(self, connection: AsyncConnection) -> None:
        await connection.execute(insert(jobs).values(_new_row(self.job, self.now)))
        labels = [{"job_id": self.id, "key": key, "value": value} for key, value in self.job.labels.items()]
        if labels:
            await connection.execute(insert(job_labels), labels)


def used_dataset(job: job_pb2.Job) -> str:
    """The dataset that a job trains on, or measures on; "" where it needs none, or is not resolved yet."""
    # Where an evaluation names none, it is the source job's, which stands in the resolved spec.
    evaluated = job.spec.evaluate.dataset or job.resolved_spec.evaluate.dataset
    return job.spec.training.dataset or evaluated


def _used_model(job: job_pb2.Job) -> str:
    # An architecture's name may stand for a model of the store, which the resolved spec names.
    return job.resolved_spec.training.base_model or job.spec.training.base_model


def _new_row(job: job_pb2.Job, now: datetime) -> dict[str, Any]:
    return {
        "id": job_id(job.name),
        "family": job.family,
        "kind": job.spec.WhichOneof("kind") or "",
        "task": task_kind(job),
        "slot": slot_kind(job.spec),
        "state": job.state,
        "desired": job.desired,
        "priority": job.priority,
        "dataset": used_dataset(job),
        "validation_dataset": job.spec.training.data_split.validation_dataset,
        "base_model": _used_model(job),
        "create_time": job.create_time.ToMicroseconds(),
        "update_time": to_micros(now),
        "last_sequence": job.last_sequence,
        "attempt_count": job.attempt_count,
        "lost_in_a_row": 0,
        "version": 0,
        "blob": job.SerializeToString(),
    }
