"""A run's folder as the trainer's server leaves it for a worker, and what the worker wrote into it."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from tuneyard.storage import FolderStore, StoreSettings
from tuneyard.trainer.errors import Stop
from tuneyard.trainer.journal import JournalReader, JournalWriter
from tuneyard.trainer.settings import WorkerSettings
from tuneyard.trainer.worker import run_worker
from tuneyard.trainer.worker_run import WorkerRun
from tuneyard.v1.event_pb2 import Checkpoint
from tuneyard.v1.job_pb2 import JobSpec
from tuneyard.v1.trainer_service_pb2 import RunRecord, StartRunRequest
from tuneyard.v1.training_pb2 import ImageClassifier, TrainingSpec

MakeFolder = Callable[..., "WorkerFolder"]
_CONTROL = {None: b"0", Stop.PAUSE: b"1", Stop.CANCEL: b"2"}


@dataclass
class WorkerFolder:
    """The folder of one attempt below `root`, which also holds the store and the cache of all attempts."""

    root: Path
    attempt: int = 1
    base_model: str = "fake:"
    settings: dict[str, Any] = field(default_factory=dict)
    request: dict[str, Any] = field(default_factory=dict)
    _journal: JournalWriter | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.path = self.root / f"runs/one-{self.attempt}"
        self.path.mkdir(parents=True)
        self.control(None)
        (self.path / "request.pb").write_bytes(self.start_request().SerializeToString())
        self.worker_settings().write(self.path / "settings.json")

    def start_request(self) -> StartRunRequest:
        spec = TrainingSpec(base_model=self.base_model, image_classifier=ImageClassifier())
        fields: dict[str, Any] = {
            "job": "jobs/one",
            "attempt": self.attempt,
            "spec": JobSpec(training=spec),
            "prefix": f"jobs/one/attempts/{self.attempt}/",
        }
        return StartRunRequest(**(fields | self.request))

    def worker_settings(self) -> WorkerSettings:
        settings = WorkerSettings(
            family_entry="tuneyard.trainer.fake.entry",
            device="cpu",
            cpu_threads=1,
            store_url=str(self.root / "store"),
            store=StoreSettings(),
            cache_dir=self.root / "cache",
            cache_limit_bytes=0,
            wake_socket=None,
            parent_pid=0,
            store_patience=timedelta(seconds=10),
        )
        return replace(settings, **self.settings)

    def store(self) -> FolderStore:
        return FolderStore(self.root / "store", public_url="http://127.0.0.1:1")

    def control(self, stop: Stop | None) -> None:
        """Writes the stop byte in place, as the server does."""
        descriptor = os.open(self.path / "control", os.O_WRONLY | os.O_CREAT)
        os.pwrite(descriptor, _CONTROL[stop], 0)
        os.close(descriptor)

    def run(self) -> WorkerRun:
        """The run as a recipe in a worker sees it."""
        self._journal = JournalWriter(self.path / "journal")
        return WorkerRun(
            self.start_request(), run_dir=self.path, settings=self.worker_settings(), journal=self._journal
        )

    def work(self) -> int:
        """Runs the whole worker in this process and returns its exit code."""
        return run_worker(self.path)

    def records(self) -> list[RunRecord]:
        with JournalReader(self.path / "journal") as reader:
            return reader.read(limit=1_000_000, limit_bytes=1 << 30)

    def bodies(self, name: str) -> list[Any]:
        """The records of one kind."""
        return [getattr(r, name) for r in self.records() if r.WhichOneof("body") == name]

    def last(self) -> str:
        """The kind of the last record."""
        return self.records()[-1].WhichOneof("body") or ""

    def artifact(self, name: str) -> bytes:
        """The bytes of an artifact by the record that names it."""
        [key] = {a.file.key for a in self.bodies("artifact") if a.artifact.path == name}
        return b"".join(self.store().read(key))

    def kept(self, earlier: Sequence[Checkpoint] = ()) -> list[Checkpoint]:
        """The checkpoints that are there after this attempt, as the gateway hands them to the next one."""
        kept = {(c.attempt, c.step): c for c in earlier}
        for event in self.bodies("checkpoint"):
            kept[event.checkpoint.attempt, event.checkpoint.step] = event.checkpoint
            for old in event.superseded:
                del kept[old.attempt, old.step]
        return list(kept.values())

    def next(self, **settings: Any) -> "WorkerFolder":
        """The attempt after this one, from the newest checkpoint."""
        kept = self.kept(self.request.get("kept_checkpoints", ()))
        request = {key: value for key, value in self.request.items() if key != "checkpoint"}
        request |= {"kept_checkpoints": kept} | ({"checkpoint": kept[-1]} if kept else {})
        return WorkerFolder(
            self.root,
            attempt=self.attempt + 1,
            base_model=self.base_model,
            settings=settings,
            request=request,
        )
