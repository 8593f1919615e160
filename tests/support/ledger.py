"""A driver for the gateway's repositories: a clock to set, ids to count, journals to write."""

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from tuneyard.gateway.db import Database
from tuneyard.gateway.jobs import Committed, JobRepository
from tuneyard.v1 import event_pb2, job_pb2, trainer_service_pb2, training_pb2, training_service_pb2

LEASE = timedelta(seconds=10)


class ManualClock:
    """Time that passes only when it is told to, but never stands still between two looks."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(microseconds=1)
        return self.now

    def advance(self, by: timedelta) -> None:
        self.now += by


class LedgerDriver:
    """A job repository with everything that it is given, and short ways to bring jobs into a state."""

    def __init__(self, db: Database, *, max_lost_attempts: int = 3) -> None:
        self.db = db
        self.clock = ManualClock()
        self.commits: list[Committed] = []
        self.listeners: list[Callable[[Committed], None]] = [self.commits.append]
        self.deleted: list[str] = []
        self.epoch = 0
        self._written: dict[tuple[str, int], Iterator[int]] = {}
        ids = itertools.count(1)
        self.jobs = JobRepository(
            db,
            clock=self.clock,
            new_id=lambda: f"0199{next(ids):06d}",
            on_commit=self._tell,
            on_delete=self.deleted.append,
            max_lost_attempts=max_lost_attempts,
        )

    def _tell(self, committed: Committed) -> None:
        for listener in self.listeners:
            listener(committed)

    async def lead(self) -> None:
        """Become the controller anew: the epoch before is over."""
        self.clock.advance(2 * LEASE)
        epoch = await self.jobs.claim_controller("test", LEASE)
        assert epoch is not None
        self.epoch = epoch

    @staticmethod
    def spec(*, dataset: str = "datasets/digits", batch_size: int = 0) -> job_pb2.JobSpec:
        training = training_pb2.TrainingSpec(dataset=dataset, base_model="resnet18")
        training.image_classifier.SetInParent()
        if batch_size:
            training.hyperparameters.batch_size = batch_size
        return job_pb2.JobSpec(training=training)

    async def create(self, *, batch_size: int = 0, dataset: str = "datasets/digits", **fields: Any) -> str:
        """Create a job; with a batch size it is resolved, too."""
        spec = self.spec(dataset=dataset)
        job = job_pb2.Job(spec=spec, **{"family": training_pb2.FAMILY_VISION, **fields})
        if batch_size:
            job.resolved_spec.CopyFrom(self.spec(dataset=dataset, batch_size=batch_size))
        return (await self.jobs.create(job)).name

    async def open(self, name: str) -> int:
        opened = await self.jobs.open_attempt(self.epoch, name, trainer_id="t1", address="localhost:1")
        assert opened is not None
        return opened[1]

    async def running(self, **fields: Any) -> tuple[str, int]:
        """A job whose first attempt is at work."""
        name = await self.create(**fields)
        attempt = await self.open(name)
        await self.write(name, attempt, self.started())
        return name, attempt

    def record(self, run_sequence: int, **body: Any) -> trainer_service_pb2.RunRecord:
        record = trainer_service_pb2.RunRecord(run_sequence=run_sequence, **body)
        record.time.FromDatetime(self.clock())
        return record

    async def write(self, name: str, attempt: int, *bodies: dict[str, Any]) -> Committed | None:
        """Commit the next records of an attempt's journal."""
        numbers = self._written.setdefault((name, attempt), itertools.count(1))
        for event in (body["checkpoint"] for body in bodies if "checkpoint" in body):
            if not event.checkpoint.files:
                folder = f"{name}/attempts/{attempt}/checkpoints/{event.checkpoint.step:010d}"
                event.checkpoint.files.add(path="state", key=f"{folder}/state")
        records = [self.record(next(numbers), **body) for body in bodies]
        return await self.jobs.commit_records(self.epoch, name, attempt, records)

    async def lose(self, name: str, attempt: int, **exit_: Any) -> Committed | None:
        """Close an attempt that was lost, or whose worker ended with this exit."""
        exit_message = trainer_service_pb2.RunExit(**exit_) if exit_ else None
        return await self.jobs.close_attempt(
            self.epoch, name, attempt, exit=exit_message, cause="it was lost"
        )

    async def log(self, name: str) -> list[event_pb2.JobEvent]:
        """The whole log as a subscriber reads it, proved to be without gaps."""
        chunks = await self.jobs.events_after(name.removeprefix("jobs/"), 0, 1_000_000)
        response = training_service_pb2.WatchJobResponse.FromString(b"".join(chunk for _, chunk in chunks))
        sequences = [event.sequence for event in response.events]
        assert sequences == [sequence for sequence, _ in chunks] == list(range(1, len(chunks) + 1))
        return list(response.events)

    async def states(self, name: str) -> list[str]:
        """The states that the job went through, from its log."""
        return [
            job_pb2.JobState.Name(event.state_change.to).removeprefix("JOB_STATE_")
            for event in await self.log(name)
            if event.HasField("state_change")
        ]

    @staticmethod
    def started() -> dict[str, Any]:
        return {"started": trainer_service_pb2.RunStarted(device="cpu")}

    @staticmethod
    def paused(step: int = 0) -> dict[str, Any]:
        return {"paused": trainer_service_pb2.RunPaused(step=step)}

    @staticmethod
    def cancelled() -> dict[str, Any]:
        return {"cancelled": trainer_service_pb2.RunCancelled()}

    @staticmethod
    def result(**fields: Any) -> dict[str, Any]:
        return {"result": event_pb2.ResultEvent(**fields)}

    @staticmethod
    def metrics(step: int, **values: float) -> dict[str, Any]:
        named = {name.replace("_", "/", 1): value for name, value in values.items()}
        return {"metrics": event_pb2.MetricsEvent(step=step, values=named)}

    @staticmethod
    def rolled_back(from_step: int, to_step: int) -> dict[str, Any]:
        return {"rolled_back": event_pb2.RolledBackEvent(from_step=from_step, to_step=to_step)}

    @staticmethod
    def checkpoint(
        step: int, *, superseded: tuple[tuple[int, int], ...] = (), best: bool = False, key: str = ""
    ) -> dict[str, Any]:
        """`write` gives it a file where no key is named."""
        given_up = [job_pb2.ResumePoint(attempt=attempt, step=old) for attempt, old in superseded]
        files = [event_pb2.StoredFile(path="state", key=key)] if key else []
        stored = event_pb2.Checkpoint(step=step, best=best, files=files)
        return {"checkpoint": event_pb2.CheckpointEvent(checkpoint=stored, superseded=given_up)}

    @staticmethod
    def artifact(path: str, *, key: str) -> dict[str, Any]:
        stored = trainer_service_pb2.StoredArtifact(
            artifact=event_pb2.Artifact(path=path, kind=event_pb2.ARTIFACT_KIND_MODEL, size_bytes=3),
            file=event_pb2.StoredFile(path=path, key=key, size_bytes=3, sha256="ab"),
        )
        return {"artifact": stored}
