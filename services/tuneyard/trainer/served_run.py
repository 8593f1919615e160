"""One run, from its slot to its exit: launched, stopped, outlived by nothing, and its end written down."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from tuneyard.trainer.journal import JournalReader
from tuneyard.trainer.launcher import Launcher, LauncherLost, LaunchError, Worker, WorkerExit
from tuneyard.trainer.leftovers import end_leftovers
from tuneyard.trainer.process import kill_group
from tuneyard.trainer.run_folder import RunFolder, RunKey
from tuneyard.trainer.settings import OUT_OF_MEMORY_EXIT_CODE, WorkerSettings
from tuneyard.trainer.worker_output import cut, keep_short, tail
from tuneyard.v1.system_pb2 import SlotKind
from tuneyard.v1.trainer_service_pb2 import RunExit, RunInfo, StopMode

_log = structlog.get_logger(__name__)

_CANCEL = StopMode.STOP_MODE_CANCEL
_GONE_POLL_SECONDS = 0.002
_SILENCE_LOOKS, _SILENCE_LOOK_SECONDS = 10, 60.0


@dataclass(frozen=True, kw_only=True)
class WorkOrder:
    """What a worker is launched with. `settings.parent_pid` is filled in at the launch."""

    settings: WorkerSettings
    env: Mapping[str, str]
    silence_limit: timedelta = timedelta(0)
    """The worker is killed once its journal has not grown for so long; 0 means never."""


class ServedRun:
    """A run that the trainer serves: at work, or ended and not released."""

    def __init__(
        self,
        folder: RunFolder,
        *,
        key: RunKey,
        device: str,
        slot: "SlotKind.ValueType",
        exit: RunExit | None = None,
    ) -> None:
        self.folder = folder
        self.key = key
        self.device = device
        self.slot = slot
        self._exit = exit
        self._launching: asyncio.Task[Worker] | None = None
        self._worker: Worker | None = None
        self._stop: StopMode.ValueType | None = None
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._counter: JournalReader | None = None
        self._killer: asyncio.Task[None] | None = None
        self._killed = False
        self._trainer_stops = False
        self._silent = False

    @property
    def exit(self) -> RunExit | None:
        """How the worker ended; None while the run is at work."""
        return self._exit

    @property
    def alive(self) -> bool:
        return self._exit is None

    def info(self) -> RunInfo:
        return RunInfo(
            job=self.key.job,
            attempt=self.key.attempt,
            alive=self.alive,
            last_run_sequence=self._last_sequence(),
            device=self.device,
            slot=self.slot,
        )

    async def conduct(self, launcher: Launcher, order: WorkOrder) -> None:
        """Have the worker launched, wait for its end, and write the exit once nothing of it is alive."""
        try:
            ended = await self._work(launcher, order)
        except Exception as error:
            _log.error("run failed in the trainer", exc_info=error)
            ended = WorkerExit(exit_code=1, detail=f"the trainer: {type(error).__name__}")
        if self._killer is not None:
            self._killer.cancel()
        output = tail(self.folder.output)
        trainer_stopped = self._trainer_stops and (ended.lost or ended.signal != 0)
        exit = RunExit(
            exit_code=ended.exit_code,
            signal=ended.signal,
            out_of_memory=ended.out_of_memory or ended.exit_code == OUT_OF_MEMORY_EXIT_CODE,
            trainer_restarted=ended.lost or trainer_stopped,
            trainer_stopped=trainer_stopped,
            silent=self._silent,
            last_run_sequence=self._last_sequence(),
            detail=ended.detail or output,
        )
        try:
            self.folder.write_exit(exit)
        except OSError as error:
            # The watchers are told all the same; after a restart the run counts as lost.
            _log.error("exit not written", error=error.strerror)
        self._exit = exit
        self._ended.set()
        self._forget_counter()
        log = _log.bind(exit_code=exit.exit_code, signal=exit.signal, records=exit.last_run_sequence)
        if output:
            # The journal has clean messages only; this is where tracebacks are read.
            log = log.bind(output=output)
        if self._killed or not (exit.exit_code or exit.signal):
            log.info("run ended")
        else:
            log.warning("run ended badly", out_of_memory=exit.out_of_memory, detail=ended.detail)

    def stop(self, mode: "StopMode.ValueType", *, grace: timedelta) -> None:
        """Ask the worker to pause or to cancel; what does not cancel within `grace` is killed.

        A cancel outranks a pause, and nothing takes it back. Without effect on a run that has ended.
        """
        if not self.alive or self._stop in (mode, _CANCEL):
            return
        self._stop = mode
        # The folder of a living run is there, and one byte in place needs no room on the disk.
        self.folder.write_control(mode)
        self._stopping.set()
        if mode == _CANCEL:
            self._killer = asyncio.create_task(self._kill_after(grace))

    def kill(self, *, trainer_stops: bool = False) -> None:
        """End the run at once, launched or not."""
        self._trainer_stops = trainer_stops
        if self.alive:
            self._stop = _CANCEL
            self._stopping.set()
            if self._killer is not None:
                self._killer.cancel()
            # What forks the workers ends with a launch that is given up, and with it the workers of others.
            self._killer = asyncio.create_task(self._kill_after(timedelta(), give_up_launch=trainer_stops))

    async def wait_ended(self) -> None:
        await self._ended.wait()

    async def _work(self, launcher: Launcher, order: WorkOrder) -> WorkerExit:
        try:
            worker = await self._launch(launcher, order)
        except LaunchError as error:
            _log.error("worker not launched", error=str(error))
            return WorkerExit(exit_code=1, lost=True, detail=str(error))
        if worker is None:
            return WorkerExit(lost=self._trainer_stops, detail="stopped before it was started")
        self._worker = worker
        self.folder.write_worker(worker.process)
        _log.info("worker launched", pid=worker.process.pid, device=self.device)
        keepers = [
            asyncio.create_task(keep_short(self.folder.output)),
            asyncio.create_task(self._kill_if_silent(worker, order.silence_limit.total_seconds())),
        ]
        try:
            ended = await worker.ended
        finally:
            for keeper in keepers:
                keeper.cancel()
        # Processes that the worker left behind may still hold its device and write to its folder.
        while kill_group(worker.process):
            await asyncio.sleep(_GONE_POLL_SECONDS)
        await asyncio.to_thread(cut, self.folder.output)
        return ended

    async def _kill_if_silent(self, worker: Worker, limit_seconds: float) -> None:
        """Kill a worker whose journal does not grow: also one that holds Python's lock for good.

        Looks are counted, so that a machine that slept, or a trainer that was stopped, accuses nobody.
        """
        if not limit_seconds:
            return
        pause = min(limit_seconds / _SILENCE_LOOKS, _SILENCE_LOOK_SECONDS)
        reached, silence_seconds = -1, 0.0
        while silence_seconds < limit_seconds:
            await asyncio.sleep(pause)
            silence_seconds += pause
            if (sequence := self._last_sequence()) != reached:
                reached, silence_seconds = sequence, 0.0
        self._silent = kill_group(worker.process)
        _log.error("silent worker killed", pid=worker.process.pid, seconds=limit_seconds)

    async def _launch(self, launcher: Launcher, order: WorkOrder) -> Worker | None:
        """Launch the worker; None if the run was stopped before."""

        def prepare(parent_pid: int) -> None:
            replace(order.settings, parent_pid=parent_pid).write(self.folder.settings)

        while await self._ready_before_stopped(launcher):
            launch = launcher.launch(self.folder.path, env=order.env, prepare=prepare)
            self._launching = asyncio.ensure_future(launch)
            await asyncio.wait({self._launching})
            try:
                return self._launching.result()
            except (LauncherLost, asyncio.CancelledError) as lost:
                await asyncio.to_thread(end_leftovers, [self.folder])
                if isinstance(lost, LauncherLost) and self._last_sequence() > 0:
                    # A worker was started and did something: that was this attempt.
                    raise
        return None

    async def _ready_before_stopped(self, launcher: Launcher) -> bool:
        """Wait for the launcher; False if the run was stopped by then."""
        if not launcher.state.ready:
            waits = {
                asyncio.ensure_future(launcher.wait_ready()),
                asyncio.ensure_future(self._stopping.wait()),
            }
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        return self._stop is None

    async def _kill_after(self, grace: timedelta, *, give_up_launch: bool = True) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), timeout=grace.total_seconds())
        if give_up_launch and self._launching is not None:
            self._launching.cancel()
        while self.alive:
            if self._worker is not None and kill_group(self._worker.process):
                self._killed = True
                _log.info("worker killed", pid=self._worker.process.pid)
            await asyncio.sleep(0.05)

    def _last_sequence(self) -> int:
        if self._exit is not None:
            return self._exit.last_run_sequence
        if self._counter is None:
            self._counter = JournalReader(self.folder.journal)
        return self._counter.skip()

    def _forget_counter(self) -> None:
        if self._counter is not None:
            self._counter.close()
            self._counter = None
