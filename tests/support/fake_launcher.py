"""A launcher without processes: the test plays the worker."""

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tuneyard.trainer.journal import JournalWriter
from tuneyard.trainer.launcher import LauncherState, Prepare, Worker, WorkerExit
from tuneyard.trainer.process import ProcessIdentity
from tuneyard.v1.trainer_service_pb2 import RunRecord

_NO_PID = 1 << 23
"""Above every pid that the kernel gives."""


@dataclass(frozen=True)
class FakeWorker:
    """A launched worker, to be played by the test."""

    run_dir: Path
    env: Mapping[str, str]
    worker: Worker
    module: str = ""

    def record(self, *records: RunRecord) -> None:
        with JournalWriter(self.run_dir / "journal") as writer:
            for record in records:
                writer.append(record)

    def control(self) -> bytes:
        return (self.run_dir / "control").read_bytes()

    def end(self, exit: WorkerExit | None = None) -> None:
        self.worker.ended.set_result(exit or WorkerExit())


class FakeLauncher:
    """Ready at once unless told otherwise; `failures` are raised by the next launches, and none of them
    ends where it `hangs`.
    """

    def __init__(self, *, ready: bool = True) -> None:
        self.failures: list[Exception] = []
        self.hangs = False
        self.asked = asyncio.Event()
        self._ready = asyncio.Event()
        self._launched: asyncio.Queue[FakeWorker] = asyncio.Queue()
        self._pids = itertools.count(_NO_PID)
        if ready:
            self._ready.set()

    @property
    def state(self) -> LauncherState:
        return LauncherState(ready=self._ready.is_set(), warm=True)

    async def start(self) -> None:
        """Get ready."""
        self._ready.set()

    async def wait_ready(self) -> None:
        await self._ready.wait()

    async def launch(
        self, run_dir: Path, *, env: Mapping[str, str], prepare: Prepare, worker: str = ""
    ) -> Worker:
        prepare(1)
        self.asked.set()
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        if self.failures:
            raise self.failures.pop(0)
        ended: asyncio.Future[WorkerExit] = asyncio.get_running_loop().create_future()
        launched = Worker(process=ProcessIdentity(next(self._pids), 1), ended=ended)
        self._launched.put_nowait(FakeWorker(run_dir, env, launched, worker))
        return launched

    async def close(self) -> None:
        """Nothing to end."""

    async def launched(self) -> FakeWorker:
        """The next worker that was launched."""
        return await asyncio.wait_for(self._launched.get(), timeout=30)

    def launched_none(self) -> bool:
        return self._launched.empty()
