"""What the gateway tells about itself."""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tuneyard.gateway.trainers import Trainers
from tuneyard.v1 import system_service_pb2


@dataclass(frozen=True, kw_only=True)
class ServerInfo:
    """The facts that do not change, and ways to those that do."""

    version: str
    database_kind: str
    store_folder: Path | None
    """The folder of a folder store; None for an S3 store."""
    auth_required: bool
    trainers: Trainers
    is_controller: Callable[[], bool]
    controller_epoch: Callable[[], int]

    async def describe(self) -> system_service_pb2.GetServerInfoResponse:
        """The facts as of now."""
        free = 0
        if self.store_folder is not None:
            free = (await asyncio.to_thread(shutil.disk_usage, self.store_folder)).free
        return system_service_pb2.GetServerInfoResponse(
            version=self.version,
            store_kind="s3" if self.store_folder is None else "folder",
            database_kind=self.database_kind,
            is_controller=self.is_controller(),
            controller_epoch=self.controller_epoch(),
            store_free_bytes=free,
            auth_required=self.auth_required,
            families=self.trainers.configured_families,
        )
