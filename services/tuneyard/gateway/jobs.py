"""The jobs' repository: the one object through which the gateway reads and changes jobs and their logs.

This module has what users ask for; `queries`, `attempts` and `lease` add reading, running and leading.
"""

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from tuneyard.gateway import garbage, requests
from tuneyard.gateway.attempts import AttemptLedger, OpenAttempt, RunSequenceGap
from tuneyard.gateway.edits import Committed, JobEdit, timestamp
from tuneyard.gateway.layout import job_prefix
from tuneyard.gateway.lease import ControllerLease
from tuneyard.gateway.ledger import check_epoch, not_found, notification, parse_notification, uncancelled
from tuneyard.gateway.queries import JobChange, JobQueries, QueuedJob, in_use, jobs_using_job
from tuneyard.gateway.requests import RequestKey, request_key
from tuneyard.gateway.schema import jobs
from tuneyard.gateway.transitions import (
    PAUSED,
    QUEUED,
    RUN,
    TABLE,
    TERMINAL,
    Trigger,
)
from tuneyard.rpc.errors import TuneyardError
from tuneyard.rpc.names import job_name
from tuneyard.v1 import event_pb2, job_pb2

__all__ = [
    "Committed",
    "JobChange",
    "JobRepository",
    "OpenAttempt",
    "QueuedJob",
    "RequestKey",
    "RunSequenceGap",
    "parse_notification",
    "request_key",
]


class JobRepository(JobQueries, AttemptLedger, ControllerLease):
    """Jobs, their attempts, events, checkpoints and artifacts."""

    async def create(self, job: job_pb2.Job, *, request: RequestKey | None = None) -> job_pb2.Job:
        """Accept a job: QUEUED, with a name, a time and its first event. What else is set in `job` stays.

        A repeated request returns the job that it made first, as it is now. REQUEST_ID_REUSED if its body
        is another, JOB_NOT_FOUND if that job was deleted.
        """
        try:
            return await self._create(job, request)
        except IntegrityError:
            # The same request was committed at the same moment by another call: this time it is found.
            return await self._create(job, request)

    async def _create(self, job: job_pb2.Job, request: RequestKey | None) -> job_pb2.Job:
        first: list[str] = []

        async def work(connection: AsyncConnection) -> JobEdit | None:
            found = await requests.find_resource(connection, request) if request else None
            if found is not None:
                first.append(found)
                return None
            edit = self._new(job)
            if request:
                await requests.remember(connection, request, edit.job.name, edit.now)
            return edit

        committed = await self._change(work)
        return await self.get(first[0] if committed is None else committed.job.name)

    def _new(self, job: job_pb2.Job) -> JobEdit:
        now = self._clock()
        new = job_pb2.Job()
        new.CopyFrom(job)
        new.name = job_name(self._new_id())
        new.state = QUEUED
        new.desired = RUN
        new.last_sequence = 0
        new.attempt_count = 0
        new.create_time.CopyFrom(timestamp(now))
        edit = JobEdit(new, now)
        edit.emit(state_change=event_pb2.StateChangeEvent(to=QUEUED, reason="accepted"))
        return edit

    async def request_cancel(self, name: str) -> job_pb2.Job:
        """Ask a job to end: CANCELLED at once where nothing runs, else CANCELLING.

        No effect on one that is CANCELLING or CANCELLED; JOB_STATE_CONFLICT on others that are terminal.
        """
        return await self._ask(name, Trigger.CANCEL, reason="cancelled by request")

    async def request_pause(self, name: str) -> job_pb2.Job:
        """Ask a job to save and rest: PAUSED at once where nothing runs, else PAUSING.

        A FINALIZING job takes the wish and ends SUCCEEDED all the same, unless its worker is lost: then it
        is PAUSED. JOB_STATE_CONFLICT on a job that is CANCELLING or terminal.
        """
        return await self._ask(name, Trigger.PAUSE, reason="paused by request")

    async def request_resume(self, name: str) -> job_pb2.Job:
        """Ask a job to go on: QUEUED from PAUSED; a PAUSING one is QUEUED once it has paused.

        No effect on one that waits or runs. JOB_STATE_CONFLICT on a job that is CANCELLING or terminal.
        """
        return await self._ask(name, Trigger.RESUME, reason="resumed by request")

    async def _ask(self, name: str, trigger: Trigger, *, reason: str) -> job_pb2.Job:
        async def work(connection: AsyncConnection) -> JobEdit | None:
            edit = await self._lock_existing(connection, name)
            before = (edit.job.state, edit.job.desired)
            if edit.job.state not in TABLE[trigger]:
                raise _conflict(edit.job, trigger)
            edit.move(trigger, reason=reason)
            if before[0] == PAUSED and edit.job.state == QUEUED:
                # The user looked at it and wants it tried again.
                edit.lost_in_a_row = 0
            return edit if before != (edit.job.state, edit.job.desired) else None

        await self._change(work)
        return await self.get(name)

    async def delete(self, name: str) -> None:
        """Delete a terminal job with all that it has. JOB_NOT_FOUND; JOB_STATE_CONFLICT if it is not
        terminal, and while another job needs its model.

        Its bytes in the store become garbage.
        """
        await uncancelled(self._delete(name))

    async def _delete(self, name: str) -> None:
        async with self._db.transaction(after_commit=lambda: self._on_delete(name)) as connection:
            edit = await self._lock_existing(connection, name)
            if not edit.terminal:
                ending = edit.job.state == job_pb2.JOB_STATE_CANCELLING
                first = "wait for its end" if ending else "cancel it"
                raise TuneyardError(
                    "JOB_STATE_CONFLICT",
                    f"{name} is {state_name(edit.job)}; {first} before deleting it",
                    metadata={"state": state_name(edit.job)},
                    resource=name,
                )
            if using := await jobs_using_job(connection, name):
                raise in_use("JOB_STATE_CONFLICT", name, using)
            await connection.execute(delete(jobs).where(jobs.c.id == edit.id))
            await garbage.discard(connection, [job_prefix(edit.id)], edit.now)
            await self._db.notify(connection, notification(name, -1))

    async def set_resolved(self, epoch: int, name: str, estimate: job_pb2.Estimate) -> job_pb2.Job | None:
        """Record a QUEUED job's resolved spec and what it is predicted to need, with its warnings.

        None: it is not QUEUED any more, or deleted. The job's `estimate` is kept without its own copy of the
        resolved spec.
        """

        async def work(connection: AsyncConnection) -> JobEdit | None:
            await check_epoch(connection, epoch)
            edit = await JobEdit.lock(connection, name, self._clock())
            if edit is None or edit.job.state != QUEUED:
                return None
            resolve(edit.job, estimate)
            return edit

        committed = await self._change(work)
        return committed.job if committed else None

    async def set_waiting_for(self, epoch: int, name: str, text: str) -> None:
        """Record what a QUEUED job waits for, for people; no effect on others."""

        async def work(connection: AsyncConnection) -> JobEdit | None:
            await check_epoch(connection, epoch)
            edit = await JobEdit.lock(connection, name, self._clock())
            if edit is None or edit.job.state != QUEUED or edit.job.waiting_for == text:
                return None
            edit.job.waiting_for = text
            return edit

        await self._change(work)

    async def purge_requests(self) -> int:
        """Forget creating calls that are too old to be repeated; return how many."""
        async with self._db.transaction() as connection:
            return await requests.purge(connection, self._clock())

    async def _lock_existing(self, connection: AsyncConnection, name: str) -> JobEdit:
        edit = await JobEdit.lock(connection, name, self._clock())
        if edit is None:
            raise not_found(name)
        return edit


def resolve(job: job_pb2.Job, estimate: job_pb2.Estimate) -> None:
    """Set what an estimate tells of a job: for `set_resolved`, and for a job that is about to be created."""
    job.resolved_spec.CopyFrom(estimate.resolved_spec)
    job.estimate.CopyFrom(estimate)
    job.estimate.ClearField("resolved_spec")
    job.planned_steps = estimate.total_steps
    for warning in estimate.warnings:
        text = f"{warning.field}: {warning.description}"
        if text not in job.warnings:
            job.warnings.append(text)


def state_name(job: job_pb2.Job) -> str:
    """The state without its prefix: "RUNNING"."""
    return job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_")


def _conflict(job: job_pb2.Job, trigger: Trigger) -> TuneyardError:
    state = state_name(job)
    ended = " and has ended" if job.state in TERMINAL else ""
    return TuneyardError(
        "JOB_STATE_CONFLICT",
        f"{job.name} is {state}{ended}; {trigger} is not possible",
        metadata={"state": state},
        resource=job.name,
    )
