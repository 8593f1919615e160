"""A trainer's runs on a folder, with a launcher that the test plays and workers that are none."""

import asyncio
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from tests.support.fake_launcher import FakeLauncher
from tuneyard.storage import StoreSettings
from tuneyard.trainer.data_folder import DataFolder
from tuneyard.trainer.run_folder import RunKey
from tuneyard.trainer.runs import Runs, RunTimes
from tuneyard.trainer.served_run import WorkOrder
from tuneyard.trainer.settings import WorkerSettings
from tuneyard.trainer.slots import Slots
from tuneyard.trainer.wakes import Wakes
from tuneyard.v1.event_pb2 import LogEvent
from tuneyard.v1.system_pb2 import SlotKind
from tuneyard.v1.trainer_service_pb2 import RunExit, RunRecord, StartRunRequest

A1, A2, B1 = RunKey("jobs/a", 1), RunKey("jobs/a", 2), RunKey("jobs/b", 1)


class PlayedTrainer:
    """Runs on a folder, with a launcher that the test plays."""

    def __init__(
        self,
        path: Path,
        *,
        devices: tuple[str, ...] = ("cpu",),
        ready: bool = True,
        silence_limit: timedelta = timedelta(0),
    ) -> None:
        self.data = DataFolder.open(path, new_id="t")
        self.launcher = FakeLauncher(ready=ready)
        self.slots = Slots(devices, cpu_slots=1)
        self.wakes = Wakes(self.data.wake_socket())
        self.store_problem = ""
        self._silence_limit = silence_limit
        self.runs = Runs(
            self.data,
            slots=self.slots,
            launcher=self.launcher,
            wakes=self.wakes,
            order=self._order,
            store_problem=lambda: self.store_problem,
            times=RunTimes(poll=timedelta(seconds=30), keep_alive=timedelta(seconds=0.01)),
        )

    async def start(
        self, key: RunKey, *, epoch: int = 1, slot: "SlotKind.ValueType" = SlotKind.SLOT_KIND_DEVICE
    ) -> str:
        return await self.runs.start(
            StartRunRequest(controller_epoch=epoch, job=key.job, attempt=key.attempt, slot=slot)
        )

    async def read(self, key: RunKey, *, after: int = 0) -> tuple[list[RunRecord], RunExit]:
        records: list[RunRecord] = []
        async with asyncio.timeout(30):
            async for response in self.runs.watch(key, after=after):
                records += response.records
                if response.HasField("exit"):
                    return records, response.exit
        raise AssertionError("no exit")

    def wake(self, key: RunKey) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(key.folder_name.encode(), str(self.wakes.path))

    def crash(self) -> None:
        """What a SIGKILL leaves: the folder, unlocked."""
        self.wakes.close()
        self.data.close()

    def _order(self, request: StartRunRequest, device: str) -> WorkOrder:
        settings = WorkerSettings(
            family_entry="none",
            device=device,
            cpu_threads=1,
            store_url="file:///none",
            store=StoreSettings(),
            cache_dir=self.data.cache,
            cache_limit_bytes=0,
            wake_socket=self.wakes.path,
            parent_pid=0,
        )
        return WorkOrder(settings=settings, env={"NAME": "value"}, silence_limit=self._silence_limit)


MakeTrainer = Callable[..., PlayedTrainer]


def log(message: str) -> RunRecord:
    """A record with a line of the log."""
    return RunRecord(log=LogEvent(message=message))
