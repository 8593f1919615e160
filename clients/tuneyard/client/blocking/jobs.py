"""The blocking calls about jobs: each runs its namesake of the asyncio client to the end."""

from collections.abc import Generator, Mapping, Sequence

from tuneyard.client.job import Job
from tuneyard.client.jobs import AsyncJobs
from tuneyard.client.portal import Portal
from tuneyard.v1 import event_pb2, job_pb2, training_service_pb2


class Jobs:
    """The jobs of a server. See `AsyncJobs`."""

    def __init__(self, jobs: AsyncJobs, portal: Portal) -> None:
        self._jobs = jobs
        self._portal = portal

    def get(self, name: str) -> job_pb2.Job:
        """One job as it is now."""
        return self._portal.run(self._jobs.get(name))

    def cancel(self, name: str) -> job_pb2.Job:
        """Asks a job to end; it is CANCELLED within seconds."""
        return self._portal.run(self._jobs.cancel(name))

    def pause(self, name: str) -> job_pb2.Job:
        """Asks a job to save and rest."""
        return self._portal.run(self._jobs.pause(name))

    def resume(self, name: str) -> job_pb2.Job:
        """Queues a paused job again."""
        return self._portal.run(self._jobs.resume(name))

    def rerun(
        self,
        name: str,
        *,
        spec: job_pb2.JobSpec | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int | None = None,
        request_id: str = "",
    ) -> Job:
        """Creates a new job from a terminal one, with the same spec unless changed."""
        creating = self._jobs.rerun(name, spec=spec, labels=labels, priority=priority, request_id=request_id)
        return Job(self._portal.run(creating), self._portal)

    def delete(self, name: str) -> None:
        """Deletes a terminal job with its events, checkpoints and artifacts."""
        self._portal.run(self._jobs.delete(name))

    def metrics(
        self, name: str, *, metrics: Sequence[str] = (), max_points: int = 0
    ) -> training_service_pb2.GetJobMetricsResponse:
        """Metric curves as columns, and the sequence that they reach."""
        return self._portal.run(self._jobs.metrics(name, metrics=metrics, max_points=max_points))

    def events(self, name: str, *, kinds: Sequence[str] = (), after: int = 0) -> Sequence[event_pb2.JobEvent]:
        """A job's committed events beyond a sequence, of some kinds, in order."""
        return self._portal.run(self._jobs.events(name, kinds=kinds, after=after))

    def checkpoints(self, name: str) -> Sequence[event_pb2.Checkpoint]:
        """A job's checkpoints, oldest first."""
        return self._portal.run(self._jobs.checkpoints(name))

    def watch_batches(
        self, name: str, *, after: int = 0
    ) -> Generator[Sequence[event_pb2.JobEvent], None, None]:
        """Yields a job's events as they arrive together; otherwise as `watch_job`."""
        yield from self._portal.iterate(self._jobs.watch_batches(name, after=after))

    def watch_job(self, name: str, *, after: int = 0) -> Generator[event_pb2.JobEvent, None, None]:
        """Yields a job's events after a sequence, without a gap, until the job is terminal."""
        for batch in self._portal.iterate(self._jobs.watch_batches(name, after=after)):
            yield from batch

    def watch(
        self, filter: training_service_pb2.JobFilter | None = None
    ) -> Generator[training_service_pb2.WatchJobsResponse, None, None]:
        """Yields the current jobs, then changes, without end. After a broken connection it begins anew."""
        yield from self._portal.iterate(self._jobs.watch(filter))

    def list(
        self, filter: training_service_pb2.JobFilter | None = None, *, limit: int | None = None
    ) -> list[job_pb2.Job]:
        """Jobs that meet every condition of the filter, newest first; at most `limit`."""
        return self._portal.run(self._jobs.list(filter, limit=limit))
