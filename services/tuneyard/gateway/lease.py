"""The controller's lease: which gateway of a database dispatches and ingests, by an epoch that only grows."""

from datetime import timedelta

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from tuneyard.gateway.clock import to_micros
from tuneyard.gateway.ledger import Ledger, uncancelled
from tuneyard.gateway.schema import controller


class ControllerLease(Ledger):
    """Claimed, renewed and given back. Safety rests on the epoch alone, not on the clocks of gateways."""

    async def claim_controller(self, holder: str, ttl: timedelta) -> int | None:
        """Take the lease if it is free, over, or the holder's own; return the new epoch, or None.

        On SQLite it is always granted: the lock of the data folder admits one gateway.
        """
        try:
            return await uncancelled(self._claim(holder, ttl))
        except IntegrityError:
            # Another gateway inserted the first row at the same moment.
            return None

    async def _claim(self, holder: str, ttl: timedelta) -> int | None:
        now = self._clock()
        async with self._db.transaction() as connection:
            row = (await connection.execute(select(controller).with_for_update())).one_or_none()
            values = {"holder": holder, "expires_at": to_micros(now + ttl)}
            # Seconds since 1970 at least: a database made anew outranks the one before it, whose last epoch
            # the trainers remember.
            least = int(now.timestamp())
            if row is None:
                await connection.execute(insert(controller).values(id=1, epoch=least, **values))
                return least
            taken = row.expires_at > to_micros(now) and row.holder != holder
            if taken and self._db.dialect != "sqlite":
                return None
            epoch = max(int(row.epoch) + 1, least)
            await connection.execute(update(controller).values(epoch=epoch, **values))
            return epoch

    async def renew_controller(self, epoch: int, ttl: timedelta) -> bool:
        """Extend the lease; False if the epoch is over."""
        return await self._expire(epoch, to_micros(self._clock() + ttl))

    async def release_controller(self, epoch: int) -> None:
        """End the lease now, so that another gateway need not wait. The epoch stays current until claimed."""
        await self._expire(epoch, 0)

    async def _expire(self, epoch: int, at: int) -> bool:
        async with self._db.transaction() as connection:
            statement = update(controller).where(controller.c.epoch == epoch).values(expires_at=at)
            return (await connection.execute(statement)).rowcount == 1
