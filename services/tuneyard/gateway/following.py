"""Follows open attempts: reads the journal of each run and commits it, until its end is committed."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from tuneyard.gateway.jobs import JobRepository
from tuneyard.gateway.trainers import AWAY, TrainerLink
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import system_pb2, trainer_service_pb2

log = structlog.get_logger(__name__)

MAX_BATCH = 500
RETRY_SECONDS = 0.2


class StaleAttempt(Exception):
    """The attempt was closed while its run was being read."""


@dataclass
class Follower:
    """One open attempt and the task that reads it."""

    job: str
    attempt: int
    link: TrainerLink
    trainer_id: str
    run_sequence: int = 0
    slot: "system_pb2.SlotKind.ValueType" = system_pb2.SLOT_KIND_DEVICE
    is_started: bool = True
    """False until the trainer was asked to start the run."""
    task: "asyncio.Task[None] | None" = None
    stops: "dict[trainer_service_pb2.StopMode.ValueType, asyncio.Task[bool]]" = field(default_factory=dict)
    """How the run was asked to stop; a task's result says whether the trainer heard it."""
    cancel_seen: float | None = None

    @property
    def key(self) -> tuple[str, int]:
        return (self.job, self.attempt)


class RunReader:
    """Reads runs and commits what they recorded, under one controller epoch."""

    def __init__(self, jobs: JobRepository, *, epoch: int, on_end: Callable[[], None]) -> None:
        self._jobs = jobs
        self._epoch = epoch
        self._on_end = on_end

    async def follow(self, follower: Follower) -> None:
        """Returns when the attempt's end is committed and its run released. RUN_NOT_FOUND."""
        while True:
            try:
                exit_ = await self._read(follower)
            except StaleAttempt:
                await self.dispose(follower.link, follower.job, follower.attempt)
                return
            except TuneyardError as error:
                if error.reason not in AWAY:
                    raise
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if exit_ is not None:
                await self._jobs.close_attempt(
                    self._epoch, follower.job, follower.attempt, exit=exit_, cause=describe_exit(exit_)
                )
                await self._release(follower.link, follower.job, follower.attempt)
                self._on_end()
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _read(self, follower: Follower) -> trainer_service_pb2.RunExit | None:
        """Commits records, as many at once as came during the commit before; returns the exit."""
        queue: asyncio.Queue[trainer_service_pb2.WatchRunResponse | None] = asyncio.Queue(maxsize=16)

        async def receive() -> None:
            try:
                stream = follower.link.watch_run(follower.job, follower.attempt, follower.run_sequence)
                async with contextlib.aclosing(stream) as responses:
                    async for response in responses:
                        await queue.put(response)
            finally:
                await queue.put(None)

        receiver = asyncio.create_task(receive())
        exit_: trainer_service_pb2.RunExit | None = None
        try:
            while (response := await queue.get()) is not None:
                records = list(response.records)
                exit_ = response.exit if response.HasField("exit") else exit_
                while len(records) < MAX_BATCH and not queue.empty():
                    more = queue.get_nowait()
                    if more is None:
                        queue.put_nowait(None)
                        break
                    records.extend(more.records)
                    exit_ = more.exit if more.HasField("exit") else exit_
                if records:
                    await self._commit(follower, records)
            await receiver
            return exit_
        finally:
            receiver.cancel()
            # The receiver may wait for room to say that it is done.
            while not queue.empty():
                queue.get_nowait()
            await asyncio.gather(receiver, return_exceptions=True)

    async def _commit(self, follower: Follower, records: list[trainer_service_pb2.RunRecord]) -> None:
        committed = await self._jobs.commit_records(self._epoch, follower.job, follower.attempt, records)
        if committed is None:
            raise StaleAttempt
        follower.run_sequence = records[-1].run_sequence

    async def dispose(self, link: TrainerLink, job: str, attempt: int) -> None:
        """Stops and forgets a run whose attempt is closed."""
        stop = trainer_service_pb2.StopRunRequest(
            controller_epoch=self._epoch,
            job=job,
            attempt=attempt,
            mode=trainer_service_pb2.STOP_MODE_CANCEL,
        )
        try:
            with contextlib.suppress(TuneyardError):
                await link.stop_run(stop)
            stream = link.watch_run(job, attempt, 0)
            async with contextlib.aclosing(stream) as responses:
                async for response in responses:
                    if response.HasField("exit"):
                        break
            await self._release(link, job, attempt)
        except TuneyardError as error:
            # The trainer is gone: the run is found again when it comes back.
            log.info("stale run left for later", job=job, attempt=attempt, reason=error.reason)
        self._on_end()

    async def _release(self, link: TrainerLink, job: str, attempt: int) -> None:
        request = trainer_service_pb2.ReleaseRunRequest(
            controller_epoch=self._epoch, job=job, attempt=attempt
        )
        try:
            await link.release_run(request)
        except TuneyardError as error:
            if error.reason == "STALE_CONTROLLER":
                raise
            log.info("run not released yet", job=job, attempt=attempt, reason=error.reason)


def describe_exit(exit_: trainer_service_pb2.RunExit) -> str:
    """Returns how a worker ended, for people."""
    if exit_.out_of_memory:
        return "the kernel killed the worker for want of memory"
    if exit_.silent:
        return "the worker reported nothing for too long and was killed"
    if exit_.trainer_stopped:
        return "the trainer was stopped"
    if exit_.trainer_restarted:
        return "the trainer was restarted"
    if exit_.signal:
        return f"the worker was killed by signal {exit_.signal}, cause unknown"
    return f"the worker ended with exit code {exit_.exit_code}"
