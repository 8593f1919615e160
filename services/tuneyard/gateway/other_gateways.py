"""Learns of commits that other gateways of the same database made, and tells those who wait for them here."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from tuneyard.gateway.db import Database
from tuneyard.gateway.jobs import parse_notification
from tuneyard.gateway.watch import WatchHub
from tuneyard.rpc.errors import TuneyardError

log = structlog.get_logger(__name__)

_POLL_SECONDS: Final = 1.0


class OtherGateways:
    """Listens, and polls for what was not heard. On SQLite there are no others, and it has nothing to do."""

    def __init__(self, *, db: Database, hub: WatchHub, on_change: Callable[[], None]) -> None:
        """`on_change` is called when some job was changed elsewhere."""
        self._db = db
        self._hub = hub
        self._on_change = on_change
        self._heard: asyncio.Queue[str] = asyncio.Queue()

    async def run(self) -> None:
        """Follows the others until cancelled."""
        if self._db.dialect == "sqlite":
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._db.listen(self._heard.put_nowait))
            group.create_task(self._tell())
            group.create_task(self._poll())

    async def _tell(self) -> None:
        while True:
            payload = await self._heard.get()
            self._on_change()
            if not payload:
                continue
            name, last_sequence = parse_notification(payload)
            if last_sequence < 0:
                self._hub.on_delete(name)
            else:
                await self._hub.poke(name, last_sequence)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            try:
                await self._hub.poll()
            except TuneyardError as error:
                log.warning("poll failed", reason=error.reason)
