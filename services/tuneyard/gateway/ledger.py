"""What the repositories of jobs share: the database, the clock, and how a change is carried out and told."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tuneyard.gateway.db import Database
from tuneyard.gateway.edits import Committed, JobEdit
from tuneyard.gateway.schema import controller
from tuneyard.rpc.errors import TuneyardError

T = TypeVar("T")

# Keeps what nobody waits for any more from being collected.
_running: set["asyncio.Future[Any]"] = set()

# Shared with other transactions and with a renewal, but not with a claim, which locks the row FOR UPDATE: an
# epoch that was read holds until the transaction ends.
_EPOCH = (
    select(controller.c.epoch)
    .where(controller.c.epoch == bindparam("epoch"))
    .with_for_update(read=True, key_share=True)
)


def not_found(name: str) -> TuneyardError:
    """The error for a job that there is not."""
    return TuneyardError("JOB_NOT_FOUND", f"there is no job {name}", resource=name)


async def check_epoch(connection: AsyncConnection, epoch: int) -> None:
    """Raise STALE_CONTROLLER unless the epoch is the current one, and keep it so in this transaction."""
    if (await connection.execute(_EPOCH, {"epoch": epoch})).one_or_none() is None:
        raise TuneyardError("STALE_CONTROLLER", f"controller epoch {epoch} is over")


def notification(name: str, last_sequence: int) -> str:
    """What other gateways are told of a commit: the job and its newest sequence, -1 if it was deleted."""
    return f"{name} {last_sequence}"


def parse_notification(payload: str) -> tuple[str, int]:
    """The job and the sequence of a notification."""
    name, _, sequence = payload.rpartition(" ")
    return name, int(sequence)


async def uncancelled(work: Awaitable[T]) -> T:
    """Carry out a change to its end, even if the caller leaves: a commit must not go untold."""
    task = asyncio.ensure_future(work)
    _running.add(task)
    task.add_done_callback(_settled)
    return await asyncio.shield(task)


def _settled(task: "asyncio.Future[Any]") -> None:
    _running.discard(task)
    if not task.cancelled():
        # Marks the exception as seen: it went to the caller, or the caller has left.
        task.exception()


class Ledger:
    """The base of the repositories of jobs."""

    def __init__(
        self,
        db: Database,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        on_commit: Callable[[Committed], None],
        on_delete: Callable[[str], None] = lambda name: None,
        max_lost_attempts: int = 3,
    ) -> None:
        """`new_id` gives time-ordered ids (UUIDv7).

        `on_commit` gets each commit of this process before the call that made it returns, those of one job
        in order on SQLite; on PostgreSQL a reader must look at sequences. `on_delete` gets the job's name.
        """
        self._db = db
        self._clock = clock
        self._new_id = new_id
        self._on_commit = on_commit
        self._on_delete = on_delete
        self._max_lost = max_lost_attempts

    async def _change(self, work: Callable[[AsyncConnection], Awaitable[JobEdit | None]]) -> Committed | None:
        """Run `work` in a transaction, write the edit that it returns and tell of it. None: no edit."""
        return await uncancelled(self._carry_out(work))

    async def _carry_out(
        self, work: Callable[[AsyncConnection], Awaitable[JobEdit | None]]
    ) -> Committed | None:
        committed: Committed | None = None

        def tell() -> None:
            if committed is not None:
                self._on_commit(committed)

        async with self._db.transaction(after_commit=tell) as connection:
            edit = await work(connection)
            if edit is not None:
                committed = await edit.save(connection)
                await self._db.notify(connection, notification(edit.job.name, edit.job.last_sequence))
        return committed
