"""One job, as the blocking client hands it out."""

from collections.abc import Generator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from tuneyard.client.jobs import AsyncJob
from tuneyard.client.portal import Portal
from tuneyard.client.transfer import ProgressCallback
from tuneyard.v1 import event_pb2, job_pb2, training_service_pb2


class Job:
    """One job, to be followed and steered. See `AsyncJob`."""

    def __init__(self, job: AsyncJob, portal: Portal) -> None:
        self._job = job
        self._portal = portal

    @property
    def name(self) -> str:
        """ "jobs/{id}"."""
        return self._job.name

    @property
    def snapshot(self) -> job_pb2.Job:
        """The job as the server last told it."""
        return self._job.snapshot

    def refresh(self) -> job_pb2.Job:
        """The job as it is now."""
        return self._portal.run(self._job.refresh())

    def watch(self, *, after: int = 0) -> Generator[event_pb2.JobEvent, None, None]:
        """Yields the job's events after a sequence, without a gap, until the job is terminal."""
        for batch in self.watch_batches(after=after):
            yield from batch

    def watch_batches(self, *, after: int = 0) -> Generator[Sequence[event_pb2.JobEvent], None, None]:
        """Yields the job's events as they arrive together; otherwise as `watch`."""
        yield from self._portal.iterate(self._job.watch_batches(after=after))

    def wait(self, *, timeout: timedelta | None = None, check: bool = False) -> job_pb2.Job:
        """Waits until the job is terminal and returns it; with `check`, raises where it did not succeed."""
        return self._portal.run(self._job.wait(timeout=timeout, check=check))

    def cancel(self) -> job_pb2.Job:
        """Asks the job to end; it is CANCELLED within seconds."""
        return self._portal.run(self._job.cancel())

    def pause(self) -> job_pb2.Job:
        """Asks the job to save and rest."""
        return self._portal.run(self._job.pause())

    def resume(self) -> job_pb2.Job:
        """Queues the paused job again."""
        return self._portal.run(self._job.resume())

    def rerun(
        self,
        *,
        spec: job_pb2.JobSpec | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int | None = None,
        request_id: str = "",
    ) -> "Job":
        """Creates a new job from this terminal one, with the same spec unless changed."""
        creating = self._job.rerun(spec=spec, labels=labels, priority=priority, request_id=request_id)
        return Job(self._portal.run(creating), self._portal)

    def delete(self) -> None:
        """Deletes the terminal job with its events, checkpoints and artifacts."""
        self._portal.run(self._job.delete())

    def metrics(
        self, *, metrics: Sequence[str] = (), max_points: int = 0
    ) -> training_service_pb2.GetJobMetricsResponse:
        """Metric curves as columns, and the sequence that they reach."""
        return self._portal.run(self._job.metrics(metrics=metrics, max_points=max_points))

    def checkpoints(self) -> Sequence[event_pb2.Checkpoint]:
        """The job's checkpoints, oldest first."""
        return self._portal.run(self._job.checkpoints())

    def artifacts(self) -> Sequence[event_pb2.Artifact]:
        """The job's artifacts by path."""
        return self._portal.run(self._job.artifacts())

    def download(
        self,
        folder: Path | str,
        *,
        paths: Sequence[str] | None = None,
        progress: ProgressCallback | None = None,
    ) -> Sequence[Path]:
        """Fetches the job's artifacts, or those picked by `paths`, into `folder`."""
        return self._portal.run(self._job.download(folder, paths=paths, progress=progress))
