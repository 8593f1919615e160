"""Chooses which queued job goes to which trainer, and starts its run there."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import structlog

from tuneyard.gateway.following import Follower
from tuneyard.gateway.jobs import JobRepository
from tuneyard.gateway.kinds import FAMILIES, family_name, slot_kind, watched_metric
from tuneyard.gateway.placement import choose, free_slots, still_to_write
from tuneyard.gateway.resolver import Resolver, Sources, Waiting
from tuneyard.gateway.trainers import TrainerLink, Trainers
from tuneyard.gateway.transitions import CANCELLING, WITH_ATTEMPT
from tuneyard.rpc.errors import TuneyardError, reason_value
from tuneyard.v1 import errors_pb2, job_pb2, trainer_service_pb2, training_pb2

log = structlog.get_logger(__name__)

RETRY_LATER = {"TRAINER_UNAVAILABLE", "STORE_UNAVAILABLE", "DATABASE_UNAVAILABLE"}
# Failures of this gateway, not of a job or a trainer: it leads no longer.
STEP_DOWN = {"STALE_CONTROLLER", "DATABASE_UNAVAILABLE", "STORAGE_FULL"}
# What a trainer says that cannot take a run now; another one may, or the same one later.
NOT_NOW = {"NO_FREE_SLOT", "SHUTTING_DOWN", "STORAGE_FULL", "UNAUTHENTICATED", "STORE_UNAVAILABLE"}


class Dispatcher:
    """Fills free slots from the queues, under one controller epoch."""

    def __init__(
        self,
        *,
        jobs: JobRepository,
        trainers: Trainers,
        resolver: Resolver,
        epoch: int,
        follow: Callable[[Follower], None],
        pending: Callable[[TrainerLink], Counter[int]],
    ) -> None:
        """`follow` takes an attempt that was opened; `pending` tells by slot how many of a trainer's runs it
        was not yet asked to start.
        """
        self._jobs = jobs
        self._trainers = trainers
        self._resolver = resolver
        self._epoch = epoch
        self._follow = follow
        self._pending = pending
        self._avoided: dict[str, float] = {}
        self.opening: set[str] = set()
        """Jobs whose attempts are being opened and are not followed yet."""

    async def dispatch(self) -> None:
        """Gives out what can start now."""
        async with asyncio.TaskGroup() as families:
            for family in self._trainers.configured_families:
                families.create_task(self._dispatch_family(family))
            for family in set(FAMILIES.values()).difference(self._trainers.configured_families):
                families.create_task(self._explain_family(family))

    async def _dispatch_family(self, family: "training_pb2.Family.ValueType") -> None:
        queue = await self._jobs.queue(family)
        if not queue:
            return
        links = self._trainers.links_of(family)
        # Counted before the trainers are asked: what they start meanwhile may or may not be in their answers.
        pending = {id(link): self._pending(link) for link in links}
        await asyncio.gather(*(link.refresh(epoch=self._epoch) for link in links if link.reachable))
        if not any(link.reachable for link in links):
            for queued in queue:
                await self._wait(queued.job, "a trainer of its family that can be reached")
            return
        free = {
            id(link): free_slots(link, pending[id(link)])
            for link in links
            if link.ready and not self._is_avoided(link)
        }
        has_room = any(+slots for slots in free.values())
        reserved = await self._reserved_disk() if has_room else Counter[str]()
        for queued in queue:
            job = await self._ready(queued.job)
            if job is None:
                continue
            slot = slot_kind(job.spec)
            unoccupied = [link for link in links if free.get(id(link), Counter())[slot] > 0]
            place = choose(unoccupied, job.estimate, reserved=reserved) if unoccupied else "a free slot"
            if not isinstance(place, TrainerLink):
                await self._wait(job, str(place))
                continue
            free[id(place)][slot] -= 1
            reserved[place.address.target] += job.estimate.disk_bytes
            await self._open(place, job)

    async def _reserved_disk(self) -> Counter[str]:
        """Returns what running jobs still need of their trainers' disks, by the trainers' addresses."""
        reserved: Counter[str] = Counter()
        for attempt in await self._jobs.open_attempts():
            try:
                reserved[attempt.trainer_address] += still_to_write(await self._jobs.get(attempt.job))
            except TuneyardError as error:
                # A job that is deleted meanwhile had ended, and needs nothing more.
                if error.reason != "JOB_NOT_FOUND":
                    raise
        return reserved

    async def _explain_family(self, family: "training_pb2.Family.ValueType") -> None:
        """Tells jobs that were accepted under other settings why they wait."""
        for queued in await self._jobs.queue(family):
            await self._wait(queued.job, f"a {family_name(family)} trainer to be added to TUNEYARD_TRAINERS")

    def _is_avoided(self, link: TrainerLink) -> bool:
        return time.monotonic() < self._avoided.get(link.address.target, 0.0)

    async def _ready(self, job: job_pb2.Job) -> job_pb2.Job | None:
        """Returns the job with its spec resolved; None if it has to wait, has failed or is queued no more."""
        if job.HasField("resolved_spec"):
            return job
        try:
            estimate = await self._resolver.resolve(job.family, job.spec)
        except TuneyardError as error:
            if error.reason in STEP_DOWN:
                raise
            if error.reason in RETRY_LATER:
                await self._wait(job, error.message)
            else:
                await self._jobs.fail(self._epoch, job.name, job_error(error, stage="resolve"))
            return None
        if isinstance(estimate, Waiting):
            await self._wait(job, estimate.reason)
            return None
        return await self._jobs.set_resolved(self._epoch, job.name, estimate)

    async def _wait(self, job: job_pb2.Job, reason: str) -> None:
        if job.waiting_for != reason:
            await self._jobs.set_waiting_for(self._epoch, job.name, reason)

    async def _open(self, link: TrainerLink, job: job_pb2.Job) -> None:
        self.opening.add(job.name)
        try:
            opened = await self._jobs.open_attempt(
                self._epoch, job.name, trainer_id=link.trainer_id, address=link.address.target
            )
            if opened is not None:
                self._follow(
                    Follower(
                        job=job.name,
                        attempt=opened[1],
                        link=link,
                        trainer_id=link.trainer_id,
                        slot=slot_kind(job.spec),
                        is_started=False,
                    )
                )
        finally:
            self.opening.discard(job.name)

    async def start(self, link: TrainerLink, name: str, attempt: int) -> bool:
        """Sends StartRun for an open attempt; False if the attempt was withdrawn or the job has ended.

        An unanswered call counts as sent: following the run tells whether it arrived.
        """
        job = await self._jobs.get(name)
        if job.attempt_count != attempt or job.state not in WITH_ATTEMPT:
            return False
        if job.state == CANCELLING:
            await self._jobs.close_attempt(
                self._epoch, name, attempt, exit=None, cause="it was cancelled before it was started"
            )
            return False
        try:
            sources = await self._resolver.sources(job.resolved_spec)
            if isinstance(sources, Waiting):
                raise TuneyardError("DATASET_NOT_READY", f"waiting for {sources.reason}")
        except TuneyardError as error:
            if error.reason in STEP_DOWN:
                raise
            await self._refused(name, attempt, error, is_final=error.reason not in RETRY_LATER)
            return False
        request = await self._request(job, attempt, sources)
        try:
            await link.start_run(request)
        except TuneyardError as error:
            if error.reason == "STALE_CONTROLLER":
                raise
            if error.reason == "TRAINER_UNAVAILABLE":
                return True
            self._avoid(link, error)
            await self._refused(name, attempt, error, is_final=error.reason not in NOT_NOW)
            return False
        return True

    def _avoid(self, link: TrainerLink, error: TuneyardError) -> None:
        if error.retry_after is not None and error.reason != "NO_FREE_SLOT":
            self._avoided[link.address.target] = time.monotonic() + error.retry_after.total_seconds()

    async def _refused(self, name: str, attempt: int, error: TuneyardError, *, is_final: bool) -> None:
        log.info("run not started", job=name, attempt=attempt, reason=error.reason)
        await self._jobs.withdraw_attempt(self._epoch, name, attempt)
        if is_final:
            await self._jobs.fail(self._epoch, name, job_error(error, stage="start"))

    async def _request(
        self, job: job_pb2.Job, attempt: int, sources: Sources
    ) -> trainer_service_pb2.StartRunRequest:
        job_id = job.name.removeprefix("jobs/")
        metric = watched_metric(job.resolved_spec)
        kept = await self._jobs.kept_checkpoints(job.name)
        return trainer_service_pb2.StartRunRequest(
            controller_epoch=self._epoch,
            job=job.name,
            attempt=attempt,
            spec=job.resolved_spec,
            dataset=sources.dataset,
            validation_dataset=sources.validation_dataset,
            model=sources.model,
            clip_model=sources.clip_model,
            checkpoint=kept[-1] if kept else None,
            micro_batch_halvings=job.micro_batch_halvings,
            slot=slot_kind(job.spec),
            prefix=f"jobs/{job_id}/attempts/{attempt}",
            source_artifacts=sources.source_artifacts,
            source_spec=sources.source_spec,
            best_metric=job.metrics.get(metric),
            kept_checkpoints=kept,
        )


def job_error(error: TuneyardError, *, stage: str) -> errors_pb2.JobError:
    """Returns why a job could not be run, from what was raised before any worker had it."""
    fields = dict.fromkeys(violation.field for violation in error.violations)
    return errors_pb2.JobError(
        reason=reason_value(error.reason),
        message=error.message,
        stage=stage,
        # What is wrong with them the message says.
        remedies=[f"Change {', '.join(fields)}, and train again."] if fields else [],
    )
