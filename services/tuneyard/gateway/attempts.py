"""Attempts: opened for a trainer, fed by their run's journal, closed once. For the controller alone.

Each call names the controller's epoch, which is checked in the call's own transaction: STALE_CONTROLLER.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tuneyard.gateway import garbage, stored
from tuneyard.gateway.clock import to_micros
from tuneyard.gateway.edits import Committed, JobEdit
from tuneyard.gateway.layout import attempt_prefix
from tuneyard.gateway.ledger import Ledger, check_epoch, not_found
from tuneyard.gateway.losses import Loss, apply_loss
from tuneyard.gateway.records import Batch, tells_of_damage
from tuneyard.gateway.schema import attempts, jobs
from tuneyard.gateway.transitions import QUEUED, TABLE, Desired, State, Trigger
from tuneyard.rpc.errors import TuneyardError
from tuneyard.rpc.names import job_id, job_name
from tuneyard.v1 import errors_pb2, event_pb2, job_pb2, trainer_service_pb2

_THIS = (attempts.c.job_id == bindparam("id_"), attempts.c.attempt == bindparam("attempt_"))
_OPEN_ATTEMPT = select(attempts).where(*_THIS, attempts.c.open)
# Compare and set: of two readers of one journal, one finds the sequence moved.
_ADVANCE = (
    update(attempts)
    .where(*_THIS, attempts.c.open, attempts.c.run_sequence == bindparam("from_"))
    .values(
        run_sequence=bindparam("to_"),
        new_checkpoint=bindparam("advanced_"),
        open=bindparam("open_"),
        end_time=bindparam("end_"),
        outcome=bindparam("outcome_"),
    )
)
_OPEN_ATTEMPTS = (
    select(attempts, jobs.c.state, jobs.c.desired)
    .join(jobs, jobs.c.id == attempts.c.job_id)
    .where(attempts.c.open)
    .order_by(attempts.c.start_time)
)


@dataclass(frozen=True)
class OpenAttempt:
    """An attempt that a trainer has, and what its job is meant to do."""

    job: str
    """The job's name."""
    attempt: int
    trainer_id: str
    trainer_address: str
    run_sequence: int
    """The newest record of the run's journal that is committed."""
    state: State
    desired: Desired


class RunSequenceGap(Exception):
    """Records of a journal are missing between what is committed and what was given."""

    def __init__(self, name: str, *, expected: int, given: int) -> None:
        super().__init__(f"{name}: record {expected} is missing, {given} was given")
        self.expected = expected


class AttemptLedger(Ledger):
    """The life of attempts."""

    async def open_attempt(
        self, epoch: int, name: str, *, trainer_id: str, address: str
    ) -> tuple[job_pb2.Job, int] | None:
        """Give a QUEUED job to a trainer; return it, now STARTING, and the attempt. None: it is not QUEUED.

        The attempt takes up the work at the newest available checkpoint.
        """

        async def work(connection: AsyncConnection) -> JobEdit | None:
            edit = await self._lock(connection, epoch, name)
            if edit is None or edit.job.state != QUEUED:
                return None
            job = edit.job
            job.attempt_count += 1
            job.trainer = trainer_id
            step = await self._take_up(connection, edit)
            edit.move(Trigger.DISPATCH, resumed_from_step=step, reason=job_reason(job, step))
            await connection.execute(
                insert(attempts).values(
                    job_id=edit.id,
                    attempt=job.attempt_count,
                    trainer_id=trainer_id,
                    trainer_address=address,
                    open=True,
                    run_sequence=0,
                    new_checkpoint=False,
                    start_time=to_micros(edit.now),
                    outcome="",
                )
            )
            return edit

        committed = await self._change(work)
        return (committed.job, committed.job.attempt_count) if committed else None

    async def _take_up(self, connection: AsyncConnection, edit: JobEdit) -> int | None:
        """Set where the new attempt begins; return the step, None for a first attempt from scratch."""
        checkpoint = await stored.newest_checkpoint(connection, edit.id)
        if checkpoint is None:
            edit.job.ClearField("resumed_from")
            return 0 if edit.job.attempt_count > 1 else None
        edit.job.resumed_from.attempt = checkpoint.attempt
        edit.job.resumed_from.step = checkpoint.step
        return checkpoint.step

    async def withdraw_attempt(self, epoch: int, name: str, attempt: int) -> job_pb2.Job:
        """Take back an attempt that its trainer refused: as if it had not been, but for the log.

        The job is QUEUED again, or PAUSED or CANCELLED where the user wanted that in the meantime.
        STALE_ATTEMPT if the attempt is closed or has records.
        """

        async def work(connection: AsyncConnection) -> JobEdit:
            edit = await self._lock(connection, epoch, name)
            row = await _open_row(connection, name, attempt)
            if edit is None or row is None or row.run_sequence:
                raise TuneyardError("STALE_ATTEMPT", f"attempt {attempt} of {name} cannot be withdrawn")
            edit.move(Trigger.REFUSED, reason="the trainer had no room")
            edit.job.attempt_count -= 1
            edit.job.trainer = ""
            await connection.execute(
                delete(attempts).where(attempts.c.job_id == edit.id, attempts.c.attempt == attempt)
            )
            return edit

        committed = await self._change(work)
        if committed is None:
            raise not_found(name)
        return committed.job

    async def open_attempts(self) -> list[OpenAttempt]:
        """All open attempts, oldest first."""
        async with self._db.read() as connection:
            rows = await connection.execute(_OPEN_ATTEMPTS)
            return [
                OpenAttempt(
                    job=job_name(row.job_id),
                    attempt=row.attempt,
                    trainer_id=row.trainer_id,
                    trainer_address=row.trainer_address,
                    run_sequence=row.run_sequence,
                    state=row.state,
                    desired=row.desired,
                )
                for row in rows
            ]

    async def commit_records(
        self, epoch: int, name: str, attempt: int, records: Sequence[trainer_service_pb2.RunRecord]
    ) -> Committed | None:
        """Commit the next records of a run's journal in one transaction. None: the attempt is closed.

        Records that were committed before are dropped; if none is left, the Committed has no events.
        RunSequenceGap if a record before the first new one is missing.
        """
        repeated: list[job_pb2.Job] = []

        async def work(connection: AsyncConnection) -> JobEdit | None:
            edit = await self._lock(connection, epoch, name)
            row = await _open_row(connection, name, attempt)
            if edit is None or row is None:
                return None
            new = [record for record in records if record.run_sequence > row.run_sequence]
            if not new:
                repeated.append(edit.job)
                return None
            _check_order(name, row.run_sequence, new)
            batch = Batch(edit, attempt, fallback=await _fallback(connection, edit, row, new))
            for record in new:
                batch.apply(record)
            advanced = batch.advanced or row.new_checkpoint
            await _advance(connection, edit, row, to=new[-1].run_sequence, advanced=advanced, batch=batch)
            await stored.save(connection, batch)
            return edit

        committed = await self._change(work)
        return Committed(repeated[0], (), ()) if repeated else committed

    async def close_attempt(
        self,
        epoch: int,
        name: str,
        attempt: int,
        *,
        exit: trainer_service_pb2.RunExit | None,
        cause: str,
    ) -> Committed | None:
        """Close an attempt whose journal, read to its end, does not say how it ended. None: closed before.

        `exit` is how the worker ended, None where its trainer is lost or a cancel was not confirmed; `cause`
        says it for people. What follows for the job is told in `losses.apply_loss`.
        """

        async def work(connection: AsyncConnection) -> JobEdit | None:
            edit = await self._lock(connection, epoch, name)
            row = await _open_row(connection, name, attempt)
            if edit is None or row is None:
                return None
            loss = Loss(exit, cause, advanced=row.new_checkpoint)
            batch = Batch(edit, attempt, outcome=apply_loss(edit, loss, max_lost=self._max_lost))
            await _advance(
                connection, edit, row, to=row.run_sequence, advanced=row.new_checkpoint, batch=batch
            )
            return edit

        return await self._change(work)

    async def fail(self, epoch: int, name: str, error: errors_pb2.JobError) -> Committed | None:
        """End a job that the gateway found unable to run; an open attempt is closed. None: nothing to end.

        That is a job which is terminal, gone, or PAUSED: there the error may be over when it is resumed.
        """

        async def work(connection: AsyncConnection) -> JobEdit | None:
            edit = await self._lock(connection, epoch, name)
            if edit is None or edit.job.state not in TABLE[Trigger.FAIL]:
                return None
            row = await _open_row(connection, name, edit.job.attempt_count)
            edit.move(Trigger.FAIL, reason=error.message, error=error)
            if row is not None:
                batch = Batch(edit, row.attempt, outcome="failed")
                await _advance(
                    connection, edit, row, to=row.run_sequence, advanced=row.new_checkpoint, batch=batch
                )
            return edit

        return await self._change(work)

    async def _lock(self, connection: AsyncConnection, epoch: int, name: str) -> JobEdit | None:
        await check_epoch(connection, epoch)
        return await JobEdit.lock(connection, name, self._clock())


def job_reason(job: job_pb2.Job, step: int | None) -> str:
    """Why a job is STARTING, for people."""
    attempt = f"attempt {job.attempt_count}"
    return f"{attempt} goes on from step {step}" if step else attempt


async def _open_row(connection: AsyncConnection, name: str, attempt: int) -> Row[Any] | None:
    parameters = {"id_": job_id(name), "attempt_": attempt}
    return (await connection.execute(_OPEN_ATTEMPT, parameters)).one_or_none()


async def _fallback(
    connection: AsyncConnection,
    edit: JobEdit,
    row: Row[Any],
    new: Sequence[trainer_service_pb2.RunRecord],
) -> event_pb2.Checkpoint | None:
    """Another checkpoint for a run that says that its own is damaged; None where it does not, or has none.

    A run that got beyond its beginning had read its checkpoint: what it found damaged is something else.
    """
    if row.new_checkpoint or not edit.job.HasField("resumed_from") or not any(map(tells_of_damage, new)):
        return None
    return await stored.newest_checkpoint_besides(connection, edit.id, edit.job.resumed_from)


async def _advance(
    connection: AsyncConnection, edit: JobEdit, row: Row[Any], *, to: int, advanced: bool, batch: Batch
) -> None:
    parameters = {
        "id_": edit.id,
        "attempt_": row.attempt,
        "from_": row.run_sequence,
        "to_": to,
        "advanced_": advanced,
        "open_": not batch.outcome,
        "end_": to_micros(edit.now) if batch.outcome else None,
        "outcome_": batch.outcome,
    }
    if (await connection.execute(_ADVANCE, parameters)).rowcount != 1:
        raise RuntimeError(f"attempt {row.attempt} of {edit.job.name} was advanced while its job was locked")
    if batch.outcome:
        # From here on the attempt records nothing: what it stored and did not record, nobody will ever read.
        prefix = attempt_prefix(edit.id, row.attempt)
        await garbage.discard(connection, [prefix], edit.now, keep_for=garbage.ATTEMPT_GRACE)


def _check_order(name: str, committed: int, new: Sequence[trainer_service_pb2.RunRecord]) -> None:
    for expected, record in enumerate(new, start=committed + 1):
        if record.run_sequence != expected:
            raise RunSequenceGap(name, expected=expected, given=record.run_sequence)
