"""The trainer's runs: started once, watched, stopped, released, and found again after a restart."""

import asyncio
import contextvars
import errno
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import timedelta

import structlog

from tuneyard.rpc.errors import TuneyardError
from tuneyard.trainer.data_folder import DataFolder
from tuneyard.trainer.journal import JournalReader
from tuneyard.trainer.launcher import Launcher
from tuneyard.trainer.leftovers import end_leftovers
from tuneyard.trainer.run_folder import RunFolder, RunKey
from tuneyard.trainer.served_run import ServedRun, WorkOrder
from tuneyard.trainer.slots import Slots
from tuneyard.trainer.wakes import Wakes
from tuneyard.v1.system_pb2 import SlotKind
from tuneyard.v1.trainer_service_pb2 import RunExit, RunInfo, StartRunRequest, StopMode, WatchRunResponse

_log = structlog.get_logger(__name__)

_RELEASED = ".released-"
_RETRY = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class RunTimes:
    """How long things may take."""

    cancel_grace: timedelta = timedelta(seconds=5)
    """From a request to cancel to SIGKILL."""
    poll: timedelta = timedelta(seconds=0.5)
    """How often a watched journal is looked at without a wake: a datagram may be lost."""
    gather: timedelta = timedelta(milliseconds=1)
    """How long a watch waits after a wake: records that are written one after the other travel, and are
    committed, as one, which halves what a fast training costs its gateway."""
    keep_alive: timedelta = timedelta(seconds=5)
    """The longest silence of a watch."""
    farewell: timedelta = timedelta(seconds=0.5)
    """How long a stopping trainer waits for slow watchers."""


class Runs:
    """The runs by job and attempt. All methods are called on one event loop."""

    def __init__(
        self,
        data: DataFolder,
        *,
        slots: Slots,
        launcher: Launcher,
        wakes: Wakes,
        order: Callable[[StartRunRequest, str], WorkOrder],
        store_problem: Callable[[], str] = str,
        times: RunTimes | None = None,
    ) -> None:
        """`order` tells what a run's worker gets, from its request and device; `store_problem` why no run
        could reach the store, or "".
        """
        self._data = data
        self._slots = slots
        self._launcher = launcher
        self._wakes = wakes
        self._order = order
        self._store_problem = store_problem
        self._times = times or RunTimes()
        self._runs: dict[RunKey, ServedRun] = {}
        self._stored: dict[RunKey, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watchers = 0
        self._unwatched = asyncio.Event()
        self._unwatched.set()
        self._closing = False

    async def recover(self) -> None:
        """Serve the runs of the trainer's earlier life, after making sure that nothing of them is alive."""
        folders: list[tuple[RunFolder, StartRunRequest]] = []
        for path in sorted(self._data.runs.iterdir()):
            folder = RunFolder(path)
            request = None if path.name.startswith(_RELEASED) else folder.read_request()
            if request is None:
                # Released, or never answered for.
                await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
            else:
                folders.append((folder, request))
        unended = [folder for folder, _ in folders if folder.read_exit() is None]
        if unended:
            await asyncio.to_thread(end_leftovers, unended)
        for folder, request in folders:
            self._recover(folder, request)

    def note_epoch(self, epoch: int) -> None:
        """Remember a newer controller, so that older ones are refused from now on."""
        self._data.raise_epoch(epoch)

    def check_epoch(self, epoch: int) -> None:
        """Refuse an older controller than the newest seen, and remember a newer one."""
        if epoch < self._data.epoch:
            raise TuneyardError(
                "STALE_CONTROLLER",
                f"controller epoch {epoch} is older than {self._data.epoch}, which this trainer has seen",
                metadata={"newest_epoch": str(self._data.epoch)},
            )
        self._data.raise_epoch(epoch)

    async def start(self, request: StartRunRequest) -> str:
        """Start a run unless it was started before; return its device."""
        self.check_epoch(request.controller_epoch)
        key = RunKey.of(request.job, request.attempt)
        if run := self._runs.get(key):
            await self._until_stored(key)
            return run.device
        self._check_accepts(key)
        device = self._slots.acquire(request.slot, key)
        if device is None:
            raise TuneyardError(
                "NO_FREE_SLOT", "every slot of the kind has a run", retry_after=_RETRY, resource=request.job
            )
        if request.spec.training.resources.force_cpu:
            device = "cpu"
        try:
            order = self._order(request, device)
            run = self._create(key, request, device=device)
        except Exception as error:
            self._slots.release(key)
            if isinstance(error, OSError):
                raise _storage_error(error) from error
            raise
        # In a context of its own: what the log binds to this call does not belong to the run.
        task = asyncio.create_task(self._conduct(run, order), context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._stored[key] = asyncio.create_task(asyncio.to_thread(run.folder.sync))
        await self._until_stored(key)
        return run.device

    def stop(self, key: RunKey, mode: "StopMode.ValueType") -> None:
        """Pass a request to stop on to the run; it has no effect on one that has ended."""
        self._get(key).stop(mode, grace=self._times.cancel_grace)

    async def watch(self, key: RunKey, *, after: int) -> AsyncGenerator[WatchRunResponse, None]:
        """The records after `after` as they come, then the exit; empty responses keep the stream alive."""
        run = self._get(key)
        self._watchers += 1
        self._unwatched.clear()
        try:
            async with aclosing(self._follow(run, after)) as responses:
                async for response in responses:
                    yield response
        finally:
            self._watchers -= 1
            if self._watchers == 0:
                self._unwatched.set()

    async def release(self, key: RunKey) -> None:
        """Delete an ended run; no error if there is none."""
        run = self._runs.get(key)
        if run is None:
            return
        if run.alive:
            raise TuneyardError(
                "JOB_STATE_CONFLICT", "the run's worker is alive: stop it first", resource=key.job
            )
        del self._runs[key]
        self._stored.pop(key, None)
        # Out of sight at once; the rest may take a while.
        trash = run.folder.path.with_name(_RELEASED + run.folder.name)
        run.folder.path.rename(trash)
        await asyncio.to_thread(shutil.rmtree, trash, ignore_errors=True)

    def infos(self) -> list[RunInfo]:
        """All runs, by job and attempt."""
        return [self._runs[key].info() for key in sorted(self._runs)]

    def running_jobs(self) -> list[str]:
        """The names of the jobs whose workers are alive."""
        return sorted({run.key.job for run in self._runs.values() if run.alive})

    async def close(self) -> None:
        """Start nothing more, kill every worker, and let its watchers hear of its end. The journals stay."""
        self._closing = True
        alive = [run for run in self._runs.values() if run.alive]
        for run in alive:
            run.kill(trainer_stops=True)
        for run in alive:
            await run.wait_ended()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._unwatched.wait(), self._times.farewell.total_seconds())

    async def _follow(self, run: ServedRun, after: int) -> AsyncGenerator[WatchRunResponse, None]:
        clock = asyncio.get_running_loop().time
        keep_alive = self._times.keep_alive.total_seconds()
        with (
            self._wakes.watching(run.folder.name) as wake,
            JournalReader(run.folder.journal, after=after) as reader,
        ):
            spoke = clock()
            while True:
                wake.clear()
                # Before the read: once there is an exit, the journal grows no more.
                exit = run.exit
                if records := reader.read():
                    yield WatchRunResponse(records=records)
                    spoke = clock()
                    continue
                if exit is not None:
                    yield WatchRunResponse(exit=exit)
                    return
                if clock() - spoke >= keep_alive:
                    yield WatchRunResponse()
                    spoke = clock()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._times.poll.total_seconds()):
                        await wake.wait()
                        await asyncio.sleep(self._times.gather.total_seconds())

    def _check_accepts(self, key: RunKey) -> None:
        if self._closing:
            raise TuneyardError("SHUTTING_DOWN", "the trainer is stopping", retry_after=_RETRY)
        if problem := self._store_problem():
            raise TuneyardError("STORE_UNAVAILABLE", problem, retry_after=_RETRY)
        others = [run for run in self._runs.values() if run.key.job == key.job]
        if any(run.key.attempt > key.attempt for run in others):
            raise TuneyardError(
                "STALE_ATTEMPT", "a later attempt of this job was started here", resource=key.job
            )
        for run in others:
            # Whoever opens an attempt has closed those before it.
            run.kill()

    def _create(self, key: RunKey, request: StartRunRequest, *, device: str) -> ServedRun:
        path = self._data.runs / key.folder_name
        try:
            folder = RunFolder.create(path, request=request, device=device)
        except OSError:
            shutil.rmtree(path, ignore_errors=True)
            raise
        run = ServedRun(folder, key=key, device=device, slot=request.slot or SlotKind.SLOT_KIND_DEVICE)
        self._runs[key] = run
        return run

    async def _conduct(self, run: ServedRun, order: WorkOrder) -> None:
        with structlog.contextvars.bound_contextvars(job=run.key.job, attempt=run.key.attempt):
            if guest := self._slots.guest_of(run.key):
                await guest.leave()
            await run.conduct(self._launcher, order)
        self._slots.release(run.key)
        self._wakes.wake(run.folder.name)

    async def _until_stored(self, key: RunKey) -> None:
        """Wait until a machine's crash would not lose the run that we answer for."""
        if stored := self._stored.get(key):
            await asyncio.shield(stored)
            self._stored.pop(key, None)

    def _recover(self, folder: RunFolder, request: StartRunRequest) -> None:
        exit = folder.read_exit()
        if exit is None:
            with JournalReader(folder.journal) as reader:
                exit = RunExit(trainer_restarted=True, last_run_sequence=reader.skip())
            folder.write_exit(exit)
            _log.info("run ended with the trainer", job=request.job, attempt=request.attempt)
        key = RunKey(request.job, request.attempt)
        slot = request.slot or SlotKind.SLOT_KIND_DEVICE
        self._runs[key] = ServedRun(folder, key=key, device=folder.read_device(), slot=slot, exit=exit)

    def _get(self, key: RunKey) -> ServedRun:
        run = self._runs.get(key)
        if run is None:
            raise TuneyardError("RUN_NOT_FOUND", "the trainer knows no such run", resource=key.job)
        return run


def _storage_error(error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TuneyardError(
            "STORAGE_FULL", "the trainer's data disk is full", retry_after=timedelta(minutes=1)
        )
    return error
