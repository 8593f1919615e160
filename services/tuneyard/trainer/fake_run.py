"""An in-memory `Run` for tests of recipes: no store, no journal, no process.

It keeps what was reported in plain lists, so that a test reads them, and it behaves like the real run where
a recipe can tell: stops, checkpoints that are complete or absent, a best metric, faults. It thins nothing
out.
"""

import hashlib
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuneyard.trainer.errors import Stop, Stopped, no_source_artifacts
from tuneyard.trainer.faults import Faults
from tuneyard.trainer.manifest import machine, package_versions
from tuneyard.trainer.run import AdviceKind, ArtifactKind, DatasetFiles, LoadedCheckpoint, LogLevel
from tuneyard.trainer.transfers import local_path


@dataclass(frozen=True)
class Reported:
    """One thing that a recipe reported, in order: `kind` is the method, `values` its arguments."""

    kind: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class SavedCheckpoint(LoadedCheckpoint):
    """A checkpoint as a recipe saved it."""

    best: bool = False


@dataclass(frozen=True)
class SavedArtifact:
    """An artifact as a recipe saved it, copied."""

    path: Path
    kind: ArtifactKind
    media_type: str
    description: str


@dataclass(kw_only=True)
class FakeRun:
    """A run in a folder of the test's own (`root`).

    `stop_after` asks for `stop` once progress or a checkpoint reached that step; `faults` is a plan as
    `faults` describes it; `resumed` gives the next attempt, from the newest checkpoint.
    """

    root: Path
    training_files: DatasetFiles | None = None
    validation_files: DatasetFiles | None = None
    base_model_files: Path | None = None
    clip_files: Path | None = None
    source_files: Path | None = None
    resume_from: LoadedCheckpoint | None = None
    job: str = "jobs/fake"
    attempt: int = 1
    device: str = "cpu"
    accelerators: tuple[str, ...] = ()
    cpu_threads: int = 1
    micro_batch_halvings: int = 0
    best_metric: float | None = None
    keep_last: int = 2
    keep_best: bool = True
    stop: Stop | None = None
    stop_after: int = 0
    faults: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)

    reported: list[Reported] = field(default_factory=list, init=False)
    checkpoints: list[SavedCheckpoint] = field(default_factory=list, init=False)
    artifacts: dict[str, SavedArtifact] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._plan = Faults(self.faults, attempt=self.attempt)
        self._step = self.resume_from.step if self.resume_from else 0
        self._told: set[str] = set()
        self.work_dir = self.root / f"work-{self.attempt}"
        self.cache_dir = self.root / "cache"
        self.work_dir.mkdir(parents=True)
        self.cache_dir.mkdir(exist_ok=True)

    # What a test asks.

    def all_of(self, kind: str) -> list[Mapping[str, Any]]:
        """The arguments of every report of a kind, in order."""
        return [report.values for report in self.reported if report.kind == kind]

    def series(self, name: str) -> list[tuple[int, float]]:
        """A metric as (step, value) in the order in which it was reported."""
        return [(m["step"], m["values"][name]) for m in self.all_of("metrics") if name in m["values"]]

    def request_stop(self, mode: Stop) -> None:
        """Asks the run to stop at once."""
        self.stop, self.stop_after = mode, 0

    def resumed(self, **changes: Any) -> "FakeRun":
        """The next attempt: from the newest checkpoint, without a stop and without faults unless `changes`
        say so.
        """
        arguments: dict[str, Any] = {
            "root": self.root,
            "training_files": self.training_files,
            "validation_files": self.validation_files,
            "base_model_files": self.base_model_files,
            "clip_files": self.clip_files,
            "source_files": self.source_files,
            "resume_from": self.checkpoints[-1] if self.checkpoints else self.resume_from,
            "job": self.job,
            "attempt": self.attempt + 1,
            "device": self.device,
            "cpu_threads": self.cpu_threads,
            "micro_batch_halvings": self.micro_batch_halvings + len(self.all_of("out_of_memory_recovered")),
            "best_metric": self.best_metric,
            "spec": self.spec,
        }
        return FakeRun(**(arguments | changes))

    # The run.

    def dataset(self) -> DatasetFiles:
        assert self.training_files is not None, "this FakeRun was given no training_files"
        return self.training_files

    def validation_dataset(self) -> DatasetFiles | None:
        return self.validation_files

    def model_files(self) -> Path | None:
        return self.base_model_files

    def clip_model_files(self) -> Path | None:
        return self.clip_files

    def source_artifacts(self) -> Path:
        if self.source_files is None:
            raise no_source_artifacts()
        return self.source_files

    def checkpoint(self) -> LoadedCheckpoint | None:
        return self.resume_from

    def cached(self, kind: str, key: str, build: Callable[[Path], None]) -> Path:
        entry = self.cache_dir / kind / hashlib.sha256(key.encode()).hexdigest()
        if not entry.exists():
            partial = entry.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            build(partial)
            partial.rename(entry)
        return entry

    @contextmanager
    def stage(self, name: str, detail: str = "") -> Iterator[None]:
        self._report("stage", name=name, detail=detail, done=False)
        started = time.monotonic()
        yield
        self._report("stage", name=name, detail=detail, done=True, elapsed=time.monotonic() - started)

    def progress(
        self, *, step: int, total_steps: int, epoch: float, total_epochs: float, unit: str, count: float
    ) -> None:
        self._step = max(self._step, step)
        self._report(
            "progress",
            step=step,
            total_steps=total_steps,
            epoch=epoch,
            total_epochs=total_epochs,
            unit=unit,
            count=count,
        )

    def metrics(self, *, step: int, epoch: float, values: Mapping[str, float]) -> None:
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        if len(finite) < len(values):
            self.warn("non_finite_metric", "A metric was not a finite number and is left out.")
        if finite:
            self._report("metrics", step=step, epoch=epoch, values=finite)

    def save_checkpoint(
        self,
        *,
        step: int,
        epoch: float,
        write: Callable[[Path], None],
        metrics: Mapping[str, float],
        best: bool,
        wait: bool = False,
    ) -> None:
        folder = self.root / "checkpoints" / str(self.attempt) / str(step)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write(folder)
        saved = SavedCheckpoint(
            dir=folder, attempt=self.attempt, step=step, epoch=epoch, metrics=dict(metrics), best=best
        )
        self.checkpoints = [c for c in self.checkpoints if c.step != step] + [saved]
        self._report("checkpoint", step=step, epoch=epoch, metrics=dict(metrics), best=best, wait=wait)
        self._give_up_old()

    def _give_up_old(self) -> None:
        kept = self.checkpoints[-self.keep_last :]
        if self.keep_best:
            kept = [c for c in self.checkpoints if c.best][-1:] + kept
        steps = {checkpoint.step for checkpoint in kept}
        for old in self.checkpoints:
            if old.step not in steps:
                shutil.rmtree(old.dir)
        self.checkpoints = [c for c in self.checkpoints if c.step in steps]

    def save_artifact(
        self, path: Path, *, name: str, kind: ArtifactKind, media_type: str, description: str = ""
    ) -> None:
        target = local_path(self.root / "artifacts", name)
        shutil.copyfile(path, target)
        self.artifacts[name] = SavedArtifact(target, kind, media_type, description)
        self._report("artifact", name=name, kind=kind, media_type=media_type, description=description)

    def sample_image(self, path: Path, *, title: str, step: int, name: str) -> None:
        self.save_artifact(
            path, name=name, kind=ArtifactKind.IMAGE, media_type="image/png", description=title
        )
        self._report("sample", title=title, step=step, artifact=name)

    def sample_text(
        self, *, title: str, step: int, prompt: str, tuned: str, base: str = "", reference: str = ""
    ) -> None:
        self._report(
            "sample", title=title, step=step, prompt=prompt, tuned=tuned, base=base, reference=reference
        )

    def advise(
        self,
        kind: AdviceKind,
        *,
        observation: str,
        remedies: tuple[str, ...],
        changes: Mapping[str, object] | None = None,
        guide: str = "troubleshooting",
    ) -> None:
        if self._first(f"advice:{kind.value}"):
            self._report(
                "advice",
                kind=kind,
                observation=observation,
                remedies=remedies,
                changes=dict(changes or {}),
                guide=guide,
            )

    def warn(self, code: str, message: str) -> None:
        if self._first(f"warning:{code}"):
            self._report("warning", code=code, message=message)

    def log(self, message: str, level: LogLevel = LogLevel.INFO) -> None:
        self._report("log", message=message, level=level)

    def out_of_memory_recovered(
        self, *, step: int, old_batch_size: int, new_batch_size: int, gradient_accumulation_steps: int
    ) -> None:
        self._report(
            "out_of_memory_recovered",
            step=step,
            old_batch_size=old_batch_size,
            new_batch_size=new_batch_size,
            gradient_accumulation_steps=gradient_accumulation_steps,
        )

    def rolled_back(self, *, from_step: int, to_step: int, learning_rate_factor: float, reason: str) -> None:
        self.checkpoints = [saved for saved in self.checkpoints if saved.step <= to_step]
        self._report(
            "rolled_back",
            from_step=from_step,
            to_step=to_step,
            learning_rate_factor=learning_rate_factor,
            reason=reason,
        )
        self.warn("rolled_back", reason)

    def finalizing(self) -> None:
        if self._first("finalizing"):
            self._report("finalizing")

    def stop_requested(self) -> Stop | None:
        return self.stop if self._step >= self.stop_after else None

    def check_stop(self, step: int = 0) -> None:
        if stop := self.stop_requested():
            raise Stopped(stop, step)

    def fault(self, point: str) -> None:
        self._plan.reach(point)

    def manifest(self, **facts: Any) -> dict[str, Any]:
        files = self.training_files
        return {
            "job": self.job,
            "attempt": self.attempt,
            "spec": dict(self.spec),
            "dataset": {"sha256": files.sha256, "format": files.report.format} if files else None,
            "base_model": {"name": "", "revision": ""},
            "packages": package_versions(),
            "machine": machine() | {"device": self.device, "cpu_threads": self.cpu_threads},
        } | facts

    def _first(self, key: str) -> bool:
        if key in self._told:
            return False
        self._told.add(key)
        return True

    def _report(self, report: str, /, **values: Any) -> None:
        self.reported.append(Reported(report, values))
