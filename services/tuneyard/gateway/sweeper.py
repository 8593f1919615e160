"""Deletes from the store what no record names any more, and forgets requests too old to be repeated."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from tuneyard.gateway.clock import utc_now
from tuneyard.gateway.garbage import GarbageRepository
from tuneyard.gateway.jobs import JobRepository
from tuneyard.rpc.errors import TuneyardError
from tuneyard.storage import FolderStore, ObjectStore, StorageError

log = structlog.get_logger(__name__)

_INTERVAL: Final = timedelta(seconds=30)
_ABANDONED_AFTER: Final = timedelta(days=1)


class Sweeper:
    """Sweeps now and then, where this gateway leads."""

    def __init__(
        self,
        *,
        garbage: GarbageRepository,
        jobs: JobRepository,
        store: ObjectStore,
        is_leader: Callable[[], bool],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._garbage = garbage
        self._jobs = jobs
        self._store = store
        self._is_leader = is_leader
        self._clock = clock

    async def run(self) -> None:
        """Sweeps until cancelled. What fails is tried again the next time."""
        while True:
            await asyncio.sleep(_INTERVAL.total_seconds())
            if self._is_leader():
                try:
                    await self.sweep()
                except (TuneyardError, StorageError) as error:
                    log.warning("sweep interrupted", reason=error.reason, message=error.message)

    async def sweep(self) -> None:
        """Delete everything that is due."""
        while due := await self._garbage.due(self._clock()):
            for prefix in due:
                # The bytes first: while their record is there, a crash between the two loses nothing.
                await asyncio.to_thread(self._empty, prefix)
                await self._garbage.forget(prefix)
        await self._jobs.purge_requests()
        if isinstance(self._store, FolderStore):
            await asyncio.to_thread(self._store.sweep, older_than=_ABANDONED_AFTER)

    def _empty(self, prefix: str) -> None:
        if prefix.endswith("/"):
            self._store.delete_prefix(prefix)
        else:
            self._store.delete(prefix)
