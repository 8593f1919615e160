"""Chooses which queued job goes to which trainer, and starts its run there."""

import asyncio
from collections.abc import Sequence

import structlog

from tuneyard.gateway.following import Follower
from tuneyard.gateway.jobs import JobRepository, QueuedJob
from tuneyard.gateway.kinds import slot_kind, watched_metric
from tuneyard.gateway.resolver import Resolver, Sources, Waiting
from tuneyard.gateway.trainers import TrainerLink, Trainers
from tuneyard.rpc.errors import TuneyardError, reason_value
from tuneyard.v1 import errors_pb2, job_pb2, system_pb2, trainer_service_pb2, training_pb2

log = structlog.get_logger(__name__)

RETRY_LATER = {"TRAINER_UNAVAILABLE", "STORE_UNAVAILABLE", "DATABASE_UNAVAILABLE"}
STEP_DOWN = {"STALE_CONTROLLER", "DATABASE_UNAVAILABLE", "STORAGE_FULL"}


class Dispatcher:
    """Fills free slots from the queues, under one controller epoch."""

    def __init__(self, *, jobs: JobRepository, trainers: Trainers, resolver: Resolver, epoch: int) -> None:
        self._jobs = jobs
        self._trainers = trainers
        self._resolver = resolver
        self._epoch = epoch

    async def dispatch(self) -> list[Follower]:
        """Starts what can start now; returns what is to be followed."""
        started: list[Follower] = []
        for family in self._trainers.configured_families:
            queue = await self._jobs.queue(family)
            if queue:
                started += await self._dispatch_family(family, queue)
        return started

    async def _dispatch_family(
        self, family: "training_pb2.Family.ValueType", queue: Sequence[QueuedJob]
    ) -> list[Follower]:
        links = [link for link in self._trainers.links if link.address.family == family]
        await asyncio.gather(*(link.refresh(epoch=self._epoch) for link in links if link.reachable))
        if not any(link.reachable for link in links):
            for queued in queue:
                await self._wait(queued.job, "a trainer of its family that can be reached")
            return []
        free = {id(link): _free_slots(link) for link in links if link.ready}
        started = []
        for queued in queue:
            job = await self._ready(queued.job)
            if job is None:
                continue
            slot = slot_kind(job.spec)
            link = next((link for link in links if free.get(id(link), {}).get(slot, 0) > 0), None)
            if link is None:
                await self._wait(job, "a free slot")
                continue
            free[id(link)][slot] -= 1
            follower = await self._open(link, job)
            if follower is not None:
                started.append(follower)
        return started

    async def _ready(self, job: job_pb2.Job) -> job_pb2.Job | None:
        """Returns the job with its spec resolved; None if it has to wait or has failed."""
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

    async def _open(self, link: TrainerLink, job: job_pb2.Job) -> Follower | None:
        opened = await self._jobs.open_attempt(
            self._epoch, job.name, trainer_id=link.trainer_id, address=link.address.target
        )
        if opened is None:
            return None
        _, attempt = opened
        if not await self.start(link, job.name, attempt):
            return None
        return Follower(job=job.name, attempt=attempt, link=link, trainer_id=link.trainer_id, run_sequence=0)

    async def start(self, link: TrainerLink, name: str, attempt: int) -> bool:
        """Sends StartRun for an open attempt; False if the attempt was withdrawn or the job failed.

        An unanswered call counts as sent: following the run tells whether it arrived.
        """
        job = await self._jobs.get(name)
        try:
            sources = await self._resolver.sources(job.resolved_spec)
            if isinstance(sources, Waiting):
                raise TuneyardError("DATASET_NOT_READY", f"waiting for {sources.reason}")
            request = await self._request(job, attempt, sources)
            await link.start_run(request)
            return True
        except TuneyardError as error:
            if error.reason in STEP_DOWN:
                raise
            if error.reason == "TRAINER_UNAVAILABLE":
                return True
            log.info("run not started", job=name, attempt=attempt, reason=error.reason)
            await self._jobs.withdraw_attempt(self._epoch, name, attempt)
            if error.reason not in {"NO_FREE_SLOT", *RETRY_LATER}:
                await self._jobs.fail(self._epoch, name, job_error(error, stage="start"))
            return False

    async def _request(
        self, job: job_pb2.Job, attempt: int, sources: Sources
    ) -> trainer_service_pb2.StartRunRequest:
        job_id = job.name.removeprefix("jobs/")
        metric = watched_metric(job.resolved_spec)
        return trainer_service_pb2.StartRunRequest(
            controller_epoch=self._epoch,
            job=job.name,
            attempt=attempt,
            spec=job.resolved_spec,
            dataset=sources.dataset,
            validation_dataset=sources.validation_dataset,
            model=sources.model,
            checkpoint=await self._jobs.newest_checkpoint(job.name),
            micro_batch_halvings=job.micro_batch_halvings,
            slot=slot_kind(job.spec),
            prefix=f"jobs/{job_id}/attempts/{attempt}",
            source_artifacts=sources.source_artifacts,
            source_spec=sources.source_spec,
            best_metric=job.metrics.get(metric),
            kept_checkpoints=await self._jobs.kept_checkpoints(job.name),
        )


def _free_slots(link: TrainerLink) -> dict[int, int]:
    info = link.info
    if info is None:
        return {}
    return {
        system_pb2.SLOT_KIND_DEVICE: info.free_device_slots,
        system_pb2.SLOT_KIND_CPU: info.free_cpu_slots,
    }


def job_error(error: TuneyardError, *, stage: str) -> errors_pb2.JobError:
    """Returns why a job could not be run, from what was raised before any worker had it."""
    return errors_pb2.JobError(
        reason=reason_value(error.reason),
        message=error.message,
        stage=stage,
        remedies=[violation.description for violation in error.violations],
    )
