"""Deletes from the store what no record names any more, and forgets requests too old to be repeated."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final

import structlog

from tuneyard.gateway.clock import utc_now
from tuneyard.gateway.garbage import GarbageRepository
from tuneyard.gateway.jobs import JobRepository
from tuneyard.gateway.model_uploads import ModelUploads
from tuneyard.gateway.store_calls import in_store
from tuneyard.gateway.uploads import DatasetUploads
from tuneyard.rpc.errors import TuneyardError
from tuneyard.storage import ObjectStore, StorageError

log = structlog.get_logger(__name__)

_INTERVAL: Final = timedelta(seconds=30)
# A look through the whole store: files one by one, or requests that cost money.
_STORE_INTERVAL: Final = timedelta(hours=1)
_ABANDONED_AFTER: Final = timedelta(days=1)


class Sweeper:
    """Sweeps now and then, where this gateway leads."""

    def __init__(
        self,
        *,
        garbage: GarbageRepository,
        jobs: JobRepository,
        store: ObjectStore,
        uploads: Iterable[DatasetUploads | ModelUploads],
        is_leader: Callable[[], bool],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._garbage = garbage
        self._jobs = jobs
        self._store = store
        self._uploads = tuple(uploads)
        self._is_leader = is_leader
        self._clock = clock
        self._next_store_sweep = clock()

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
        """Delete everything that is due and that no record names, and what crashed writers left behind."""
        while due := await self._garbage.due(self._clock()):
            for prefix in due:
                used = await self._jobs.keys_in_use(prefix)
                # The bytes first: while their record is there, a crash between the two loses nothing.
                await in_store(self._empty, prefix, used)
                await self._garbage.forget(prefix)
        await self._jobs.purge_requests()
        if self._clock() >= self._next_store_sweep:
            for uploads in self._uploads:
                await uploads.delete_idle()
            await in_store(self._store.sweep, older_than=_ABANDONED_AFTER)
            self._next_store_sweep = self._clock() + _STORE_INTERVAL

    def _empty(self, prefix: str, used: frozenset[str]) -> None:
        if prefix.endswith("/") and not used:
            self._store.delete_prefix(prefix)
            return
        found = [each.key for each in self._store.list(prefix)] if prefix.endswith("/") else [prefix]
        for key in found:
            if key not in used:
                self._store.delete(key)
