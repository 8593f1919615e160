"""Jobs: listing, steering and following them."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

from tuneyard.client import errors, names, statuses
from tuneyard.client.artifacts import AsyncArtifacts
from tuneyard.client.connection import Connection
from tuneyard.client.pages import collect
from tuneyard.client.transfer import ProgressCallback
from tuneyard.client.watching import watch_events, watch_jobs
from tuneyard.v1 import training_service_pb2 as service
from tuneyard.v1.event_pb2 import Artifact, Checkpoint, JobEvent
from tuneyard.v1.job_pb2 import JOB_STATE_CANCELLED, JOB_STATE_FAILED, Job, JobSpec

_EVENTS_PAGE = 1000


class AsyncJobs:
    """The jobs of a server, by name ("jobs/{id}") or bare id."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, name: str) -> Job:
        """One job as it is now."""
        request = service.GetJobRequest(name=names.job(name))
        return (await self._connection.unary(self._connection.training.GetJob, request)).job

    async def cancel(self, name: str) -> Job:
        """Asks a job to end; it is CANCELLED within seconds."""
        request = service.CancelJobRequest(name=names.job(name))
        return (await self._connection.unary(self._connection.training.CancelJob, request)).job

    async def pause(self, name: str) -> Job:
        """Asks a job to save and rest."""
        request = service.PauseJobRequest(name=names.job(name))
        return (await self._connection.unary(self._connection.training.PauseJob, request)).job

    async def resume(self, name: str) -> Job:
        """Queues a paused job again."""
        request = service.ResumeJobRequest(name=names.job(name))
        return (await self._connection.unary(self._connection.training.ResumeJob, request)).job

    async def rerun(
        self,
        name: str,
        *,
        spec: JobSpec | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int | None = None,
        request_id: str = "",
    ) -> "AsyncJob":
        """Creates a new job from a terminal one, with the same spec unless changed."""
        request = service.RerunJobRequest(
            name=names.job(name),
            request_id=request_id or names.new_request_id(),
            spec=spec,
            labels=labels,
            priority=priority,
        )
        job = (await self._connection.unary(self._connection.training.RerunJob, request)).job
        return AsyncJob(self._connection, job.name, job)

    async def delete(self, name: str) -> None:
        """Deletes a terminal job with its events, checkpoints and artifacts."""
        request = service.DeleteJobRequest(name=names.job(name))
        await self._connection.unary(self._connection.training.DeleteJob, request, repeat=False)

    async def metrics(
        self, name: str, *, metrics: Sequence[str] = (), max_points: int = 0
    ) -> service.GetJobMetricsResponse:
        """Metric curves as columns, and the sequence that they reach."""
        request = service.GetJobMetricsRequest(name=names.job(name), metrics=metrics, max_points=max_points)
        return await self._connection.unary(self._connection.training.GetJobMetrics, request)

    async def events(self, name: str, *, kinds: Sequence[str] = (), after: int = 0) -> Sequence[JobEvent]:
        """A job's committed events beyond a sequence, of some kinds such as "log" and "sample", in order."""
        found: list[JobEvent] = []
        request = service.ListJobEventsRequest(
            parent=names.job(name), kinds=kinds, after_sequence=after, page_size=_EVENTS_PAGE
        )
        while True:
            page = await self._connection.unary(self._connection.training.ListJobEvents, request)
            found += page.events
            if not page.next_after_sequence:
                return found
            request.after_sequence = page.next_after_sequence

    async def checkpoints(self, name: str) -> Sequence[Checkpoint]:
        """A job's checkpoints, oldest first."""
        request = service.ListCheckpointsRequest(parent=names.job(name))
        return (await self._connection.unary(self._connection.training.ListCheckpoints, request)).checkpoints

    async def watch_batches(self, name: str, *, after: int = 0) -> AsyncGenerator[Sequence[JobEvent], None]:
        """Yields a job's events as they arrive together; otherwise as `watch_job`."""
        async with aclosing(watch_events(self._connection, names.job(name), after=after)) as batches:
            async for batch in batches:
                yield batch

    async def watch_job(self, name: str, *, after: int = 0) -> AsyncGenerator[JobEvent, None]:
        """Yields a job's events after a sequence, without a gap, until the job is terminal.

        Connects again by itself. Raises EventGap rather than leave out an event.
        """
        async with aclosing(self.watch_batches(name, after=after)) as batches:
            async for batch in batches:
                for event in batch:
                    yield event

    async def watch(
        self, filter: service.JobFilter | None = None
    ) -> AsyncGenerator[service.WatchJobsResponse, None]:
        """Yields the current jobs, then changes, without end. After a broken connection it begins anew."""
        filter = filter or service.JobFilter()
        async with aclosing(watch_jobs(self._connection, filter)) as responses:
            async for response in responses:
                yield response

    async def list(self, filter: service.JobFilter | None = None, *, limit: int | None = None) -> list[Job]:
        """Jobs that meet every condition of the filter, newest first; at most `limit`."""

        async def fetch(size: int, token: str) -> tuple[Iterable[Job], str]:
            request = service.ListJobsRequest(filter=filter, page_size=size, page_token=token)
            page = await self._connection.unary(self._connection.training.ListJobs, request)
            return page.jobs, page.next_page_token

        return await collect(fetch, limit=limit)


class AsyncJob:
    """One job, to be followed and steered.

    `snapshot` is the job as the server last told it. After `validate_only` it has no name.
    """

    def __init__(self, connection: Connection, name: str, snapshot: Job | None = None) -> None:
        self.name = names.job(name) if name else ""
        self.snapshot = snapshot or Job(name=self.name)
        self._connection = connection
        self._jobs = AsyncJobs(connection)
        self._artifacts = AsyncArtifacts(connection)

    async def refresh(self) -> Job:
        """The job as it is now."""
        self.snapshot = await self._jobs.get(self.name)
        return self.snapshot

    def watch(self, *, after: int = 0) -> AsyncGenerator[JobEvent, None]:
        """Yields the job's events after a sequence, without a gap, until the job is terminal."""
        return self._jobs.watch_job(self.name, after=after)

    def watch_batches(self, *, after: int = 0) -> AsyncGenerator[Sequence[JobEvent], None]:
        """Yields the job's events as they arrive together; otherwise as `watch`."""
        return self._jobs.watch_batches(self.name, after=after)

    async def wait(self, *, timeout: timedelta | None = None, check: bool = False) -> Job:
        """Waits until the job is terminal and returns it.

        With `check`, raises JobFailed or JobCancelled for a job that did not succeed. Raises DeadlineExceeded
        after `timeout`; the job goes on.
        """
        try:
            async with asyncio.timeout(timeout.total_seconds() if timeout else None):
                last_sequence = (await self.refresh()).last_sequence
                # Only the end matters: events before the newest one need not be replayed.
                async with aclosing(self.watch(after=max(last_sequence - 1, 0))) as events:
                    async for _ in events:
                        pass
                job = await self.refresh()
        except TimeoutError as error:
            if isinstance(error, errors.TuneyardError):
                raise
            raise errors.DeadlineExceeded(f"{self.name} has not ended yet", resource=self.name) from error
        if check:
            raise_for_end(job)
        return job

    async def cancel(self) -> Job:
        """Asks the job to end; it is CANCELLED within seconds."""
        self.snapshot = await self._jobs.cancel(self.name)
        return self.snapshot

    async def pause(self) -> Job:
        """Asks the job to save and rest."""
        self.snapshot = await self._jobs.pause(self.name)
        return self.snapshot

    async def resume(self) -> Job:
        """Queues the paused job again."""
        self.snapshot = await self._jobs.resume(self.name)
        return self.snapshot

    async def rerun(
        self,
        *,
        spec: JobSpec | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int | None = None,
        request_id: str = "",
    ) -> "AsyncJob":
        """Creates a new job from this terminal one, with the same spec unless changed."""
        return await self._jobs.rerun(
            self.name, spec=spec, labels=labels, priority=priority, request_id=request_id
        )

    async def delete(self) -> None:
        """Deletes the terminal job with its events, checkpoints and artifacts."""
        await self._jobs.delete(self.name)

    async def metrics(
        self, *, metrics: Sequence[str] = (), max_points: int = 0
    ) -> service.GetJobMetricsResponse:
        """Metric curves as columns, and the sequence that they reach."""
        return await self._jobs.metrics(self.name, metrics=metrics, max_points=max_points)

    async def checkpoints(self) -> Sequence[Checkpoint]:
        """The job's checkpoints, oldest first."""
        return await self._jobs.checkpoints(self.name)

    async def artifacts(self) -> Sequence[Artifact]:
        """The job's artifacts by path."""
        return await self._artifacts.list(self.name)

    async def download(
        self,
        folder: Path | str,
        *,
        paths: Sequence[str] | None = None,
        progress: ProgressCallback | None = None,
    ) -> Sequence[Path]:
        """Fetches the job's artifacts, or those picked by `paths`, into `folder`."""
        return await self._artifacts.download(self.name, folder, paths=paths, progress=progress)


def raise_for_end(job: Job) -> None:
    """Raises JobFailed or JobCancelled for a job that ended so; nothing for any other."""
    if job.state == JOB_STATE_FAILED:
        raise statuses.of_failed_job(job)
    if job.state == JOB_STATE_CANCELLED:
        raise errors.JobCancelled(f"{job.name} was cancelled", resource=job.name)
