"""The controller: the one gateway of a database that dispatches jobs and ingests what runs record.

It holds a lease whose epoch is checked in each of its transactions and by every trainer. Whatever goes wrong
while it leads, it steps down and leads again from what the database says: no state here could not be lost.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import structlog

from tuneyard.gateway.dispatch import STEP_DOWN, Dispatcher
from tuneyard.gateway.following import Follower, RunReader
from tuneyard.gateway.jobs import JobRepository, OpenAttempt
from tuneyard.gateway.resolver import Resolver
from tuneyard.gateway.trainers import TrainerLink, Trainers
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import job_pb2, trainer_service_pb2

log = structlog.get_logger(__name__)

STANDSTILL = timedelta(seconds=5)
"""A pause between two looks at the trainers that only a stopped process, or a hung database, explains."""
RECONCILE_EVERY = timedelta(seconds=30)


@dataclass(frozen=True)
class ControllerSettings:
    """How patient the controller is."""

    lease_ttl: timedelta = timedelta(seconds=10)
    """How long another gateway waits for a silent controller before it takes over."""
    trainer_lease: timedelta = timedelta(seconds=15)
    """How long a live controller fails to reach a trainer before its attempts are lost."""
    cancel_after: timedelta = timedelta(seconds=8)
    """How long a cancelled run may take to confirm before its attempt is closed without it."""
    poll: timedelta = timedelta(seconds=1)
    """How often everything is looked at when nothing called for it."""


class Bell:
    """Wakes one loop: a ring while the loop is at work is not lost, and many rings wake it once."""

    def __init__(self, *, apart: float = 0.05) -> None:
        """`apart` is the least time between two rounds, so that no storm of rings fills the process."""
        self._apart = apart
        self._rung = asyncio.Event()
        self._woke = 0.0

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, within: float) -> None:
        """Returns after a ring, and after `within` seconds without one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._rung.wait()
        await asyncio.sleep(max(0.0, self._woke + self._apart - time.monotonic()))
        self._rung.clear()
        self._woke = time.monotonic()


class Controller:
    """Runs for election, and leads while it is elected."""

    def __init__(
        self,
        *,
        jobs: JobRepository,
        trainers: Trainers,
        resolver: Resolver,
        holder: str,
        settings: ControllerSettings = ControllerSettings(),
    ) -> None:
        self._jobs = jobs
        self._trainers = trainers
        self._resolver = resolver
        self._holder = holder
        self._settings = settings
        self._bells = (Bell(), Bell())
        self.epoch = 0
        self.is_leader = False

    def poke(self) -> None:
        """Something changed: a new job, an intent, a dataset, a trainer."""
        for bell in self._bells:
            bell.ring()

    async def run(self) -> None:
        """Runs for election and leads, again and again, until cancelled."""
        while True:
            try:
                epoch = await self._jobs.claim_controller(self._holder, self._settings.lease_ttl)
                if epoch is not None:
                    await self._lead(epoch)
            except Exception as error:
                self._log_step_down(error)
            finally:
                self.is_leader = False
            # No poke shortens this: gateways that do not lead would claim the lease at each commit.
            await asyncio.sleep(self._settings.poll.total_seconds())

    @staticmethod
    def _log_step_down(error: Exception) -> None:
        reasons = [error]
        while any(isinstance(each, ExceptionGroup) for each in reasons):
            reasons = [
                inner
                for each in reasons
                for inner in (each.exceptions if isinstance(each, ExceptionGroup) else (each,))
            ]
        known = all(isinstance(each, TuneyardError) for each in reasons)
        told = sorted({each.reason for each in reasons if isinstance(each, TuneyardError)})
        log.warning("controller stepped down", reasons=told, exc_info=None if known else error)

    async def _lead(self, epoch: int) -> None:
        self.epoch, self.is_leader = epoch, True
        log.info("controller elected", epoch=epoch)
        attend, dispatch = self._bells
        async with asyncio.TaskGroup() as group:
            leader = _Leader(self, epoch, group)
            group.create_task(self._renew(epoch))
            group.create_task(leader.attend(attend))
            group.create_task(leader.dispatch(dispatch))

    async def _renew(self, epoch: int) -> None:
        while True:
            await asyncio.sleep(self._settings.lease_ttl.total_seconds() / 4)
            if not await self._jobs.renew_controller(epoch, self._settings.lease_ttl):
                raise TuneyardError("STALE_CONTROLLER", "another gateway took over")

    async def step_down(self) -> None:
        """Gives the lease back, so that another gateway need not wait for its end."""
        if self.is_leader:
            self.is_leader = False
            with contextlib.suppress(TuneyardError):
                await self._jobs.release_controller(self.epoch)


class _Leader:
    """One term of office.

    What runs need and what users want of them is looked after in a loop that waits for no trainer: a cancel
    is certain in time whatever a trainer, or the start of another run, is waiting for.
    """

    def __init__(self, controller: Controller, epoch: int, group: asyncio.TaskGroup) -> None:
        self._controller = controller
        self._jobs = controller._jobs
        self._links = controller._trainers.links
        self._settings = controller._settings
        self._epoch = epoch
        self._group = group
        self._began = self._attended = time.monotonic()
        self._followers: dict[tuple[str, int], Follower] = {}
        self._disposing: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._reconciled: dict[int, tuple[int, float]] = {}
        self._reconciling: dict[int, asyncio.Task[None]] = {}
        self._reader = RunReader(self._jobs, epoch=epoch, on_end=controller.poke)
        self._dispatcher = Dispatcher(
            jobs=self._jobs,
            trainers=controller._trainers,
            resolver=controller._resolver,
            epoch=epoch,
            follow=self._follow,
            pending=self._pending,
        )

    async def attend(self, bell: Bell) -> None:
        while True:
            self._forgive_standstill()
            attempts = await self._jobs.open_attempts()
            await self._adopt(attempts)
            self._reconcile()
            await self._carry_out_intents(attempts)
            await self._expire_leases()
            await bell.wait(self._settings.poll.total_seconds())

    async def dispatch(self, bell: Bell) -> None:
        while True:
            await self._dispatcher.dispatch()
            await bell.wait(self._settings.poll.total_seconds())

    def _forgive_standstill(self) -> None:
        """Lets leases begin anew where this process stood still: nobody was failing to reach a trainer."""
        now = time.monotonic()
        if now - self._attended > STANDSTILL.total_seconds():
            self._began = now
        self._attended = now

    async def _adopt(self, attempts: Sequence[OpenAttempt]) -> None:
        """Follows every open attempt that nobody follows yet."""
        for attempt in attempts:
            if (attempt.job, attempt.attempt) in self._followers or attempt.job in self._dispatcher.opening:
                continue
            link = self._link_of(attempt.trainer_id) or self._link_at(attempt.trainer_address)
            if link is None:
                await self._give_up_orphan(attempt)
                continue
            self._follow(
                Follower(
                    job=attempt.job,
                    attempt=attempt.attempt,
                    link=link,
                    trainer_id=attempt.trainer_id,
                    run_sequence=attempt.run_sequence,
                )
            )

    async def _give_up_orphan(self, attempt: OpenAttempt) -> None:
        """Closes an attempt whose trainer is not among the configured ones, once it had time to turn up."""
        is_cancelled = attempt.desired == job_pb2.DESIRED_STATE_CANCEL
        patience = self._settings.cancel_after if is_cancelled else self._settings.trainer_lease
        if time.monotonic() - self._began > patience.total_seconds():
            await self._close(attempt.job, attempt.attempt, "its trainer is no longer configured")

    def _link_at(self, address: str) -> TrainerLink | None:
        return next((link for link in self._links if link.address.target == address), None)

    def _link_of(self, trainer_id: str) -> TrainerLink | None:
        return next((link for link in self._links if trainer_id and link.trainer_id == trainer_id), None)

    def _follow(self, follower: Follower) -> None:
        self._followers[follower.key] = follower
        follower.task = self._spawn(self._watched(follower))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        return self._group.create_task(work)

    def _pending(self, link: TrainerLink) -> Counter[int]:
        return Counter(
            int(follower.slot)
            for follower in self._followers.values()
            if follower.link is link and not follower.is_started
        )

    async def _watched(self, follower: Follower) -> None:
        """Starts a run and follows it to its end; one that its trainer does not have is started or lost."""
        try:
            if not follower.is_started and not await self._start(follower):
                return
            while True:
                try:
                    await self._reader.follow(follower)
                    return
                except TuneyardError as error:
                    if error.reason != "RUN_NOT_FOUND":
                        raise
                if not await self._restart(follower):
                    return
        except TuneyardError as error:
            if error.reason in STEP_DOWN:
                raise
            log.error("attempt given up", job=follower.job, attempt=follower.attempt, reason=error.reason)
            await self._lose(follower, error.message)
        except Exception:
            # One broken run must not stop the others; the crash loop rule bounds its repetition.
            log.exception("attempt given up", job=follower.job, attempt=follower.attempt)
            await self._lose(follower, "its journal could not be read")
        finally:
            if self._followers.get(follower.key) is follower:
                del self._followers[follower.key]

    async def _restart(self, follower: Follower) -> bool:
        """Sends StartRun again where it never arrived; True if the run is there now."""
        link = follower.link
        await link.refresh(epoch=self._epoch)
        if not link.reachable:
            return True
        if follower.run_sequence or link.trainer_id != follower.trainer_id:
            await self._close(follower.job, follower.attempt, "its trainer no longer has the run")
            return False
        return await self._start(follower)

    async def _start(self, follower: Follower) -> bool:
        is_there = await self._dispatcher.start(follower.link, follower.job, follower.attempt)
        follower.is_started = True
        # Its slot is taken, or is free for another one.
        self._controller.poke()
        return is_there

    def _reconcile(self) -> None:
        """Looks at trainers that came back, that run what nobody follows, or that it is time to look at."""
        now = time.monotonic()
        for index, link in enumerate(self._links):
            generation, at = self._reconciled.get(index, (-1, 0.0))
            patience = self._settings.poll if self._has_strangers(link) else RECONCILE_EVERY
            is_due = generation != link.generation or now - at > patience.total_seconds()
            if link.reachable and is_due and index not in self._reconciling:
                task = self._spawn(self._forget_closed(index, link))
                self._reconciling[index] = task
                task.add_done_callback(partial(self._looked_at, index))

    def _looked_at(self, index: int, _: "asyncio.Task[None]") -> None:
        del self._reconciling[index]

    def _has_strangers(self, link: TrainerLink) -> bool:
        if link.info is None:
            return False
        known = {job for job, _ in (*self._followers, *self._disposing)} | self._dispatcher.opening
        return not known.issuperset(link.info.trainer.running_jobs)

    async def _forget_closed(self, index: int, link: TrainerLink) -> None:
        """Stops and forgets the runs of closed attempts on a trainer."""
        generation = link.generation
        try:
            runs = await link.list_runs()
        except TuneyardError:
            return
        # After the list: a run in it whose attempt was opened meanwhile is here, too.
        is_open = {
            (each.job, each.attempt)
            for each in await self._jobs.open_attempts()
            if each.trainer_id == link.trainer_id
        }
        for run in runs:
            if (run.job, run.attempt) not in is_open:
                self._dispose(link, run.job, run.attempt)
        self._reconciled[index] = generation, time.monotonic()

    def _dispose(self, link: TrainerLink, job: str, attempt: int) -> None:
        key = (job, attempt)
        if key in self._disposing:
            return
        task = self._spawn(self._reader.dispose(link, job, attempt))
        self._disposing[key] = task
        task.add_done_callback(lambda _: self._disposing.pop(key, None))

    async def _carry_out_intents(self, attempts: Sequence[OpenAttempt]) -> None:
        """Passes on what users want of runs, and closes cancelled attempts that nobody confirms."""
        for attempt in attempts:
            follower = self._followers.get((attempt.job, attempt.attempt))
            if follower is None or attempt.desired == job_pb2.DESIRED_STATE_RUN:
                continue
            cancel = attempt.desired == job_pb2.DESIRED_STATE_CANCEL
            mode = trainer_service_pb2.STOP_MODE_CANCEL if cancel else trainer_service_pb2.STOP_MODE_PAUSE
            sent = follower.stops.get(mode)
            if sent is None or (sent.done() and not sent.result()):
                follower.stops[mode] = self._group.create_task(self._stop(follower, mode))
            if cancel:
                follower.cancel_seen = follower.cancel_seen or time.monotonic()
                if time.monotonic() - follower.cancel_seen >= self._settings.cancel_after.total_seconds():
                    await self._lose(follower, "the trainer did not confirm the cancellation")

    async def _stop(self, follower: Follower, mode: "trainer_service_pb2.StopMode.ValueType") -> bool:
        """Asks a run to stop; False if it has to be asked again."""
        request = trainer_service_pb2.StopRunRequest(
            controller_epoch=self._epoch, job=follower.job, attempt=follower.attempt, mode=mode
        )
        try:
            await follower.link.stop_run(request)
        except TuneyardError as error:
            if error.reason == "STALE_CONTROLLER":
                raise
            log.info("stop not delivered yet", job=follower.job, reason=error.reason)
            return False
        return True

    async def _expire_leases(self) -> None:
        """Gives up the attempts of trainers that could not be reached for the length of a lease."""
        lease = self._settings.trainer_lease.total_seconds()
        for follower in list(self._followers.values()):
            link = follower.link
            since = max(link.unreachable_since, self._began)
            if not link.reachable and time.monotonic() - since >= lease:
                await self._lose(follower, f"its trainer could not be reached for {lease:.0f} s")

    async def _lose(self, follower: Follower, cause: str) -> None:
        await self._close(follower.job, follower.attempt, cause)
        if follower.task and follower.task is not asyncio.current_task():
            follower.task.cancel()
        self._followers.pop(follower.key, None)
        if follower.link.reachable:
            self._dispose(follower.link, follower.job, follower.attempt)

    async def _close(self, job: str, attempt: int, cause: str) -> None:
        await self._jobs.close_attempt(self._epoch, job, attempt, exit=None, cause=cause)
        self._controller.poke()
