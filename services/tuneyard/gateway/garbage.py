"""Prefixes of the object store with bytes that no record names, for whoever deletes those."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tuneyard.gateway.clock import to_micros
from tuneyard.gateway.db import Database
from tuneyard.gateway.schema import garbage

# A download that began before may still be reading.
GRACE = timedelta(minutes=1)
# What a thread that cannot be stopped may still be writing: large objects take their time.
ARRIVAL_GRACE = timedelta(days=1)
# What an attempt stored and never recorded, and what was found damaged: time for people to look at it.
ATTEMPT_GRACE = timedelta(days=1)


async def discard(
    connection: AsyncConnection, prefixes: Iterable[str], now: datetime, *, keep_for: timedelta = GRACE
) -> None:
    """Give prefixes up, in the transaction after which none of their keys gets a new record.

    Keys that a record of a job names when the time has come are kept. A prefix that does not end with "/"
    is the key of one object.
    """
    keep_until = to_micros(now + keep_for)
    for prefix in dict.fromkeys(prefixes):
        await reclaim(connection, prefix)
        await connection.execute(insert(garbage).values(prefix=prefix, delete_after=keep_until))


async def reclaim(connection: AsyncConnection, prefix: str) -> None:
    """Take a prefix back: a record names it again."""
    await connection.execute(delete(garbage).where(garbage.c.prefix == prefix))


class GarbageRepository:
    """What may be deleted from the store."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def due(self, now: datetime, *, limit: int = 100) -> list[str]:
        """Prefixes whose time has come, oldest first."""
        query = (
            select(garbage.c.prefix)
            .where(garbage.c.delete_after <= to_micros(now))
            .order_by(garbage.c.delete_after)
            .limit(limit)
        )
        async with self._db.read() as connection:
            return list((await connection.execute(query)).scalars())

    async def forget(self, prefix: str) -> None:
        """Drop the record of a prefix that was emptied."""
        async with self._db.transaction() as connection:
            await reclaim(connection, prefix)
