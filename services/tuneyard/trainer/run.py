"""What a recipe sees of the platform: the `Run` that it reports to, and the values that go in and out.

Neither protobuf nor gRPC is here. `worker_run` holds the real implementation, `fake_run` the in-memory one
for tests; both pass one contract suite.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from tuneyard.datasets import Report
from tuneyard.trainer.errors import RecipeError, Stop, Stopped

__all__ = [
    "AdviceKind",
    "ArtifactKind",
    "DatasetFiles",
    "LoadedCheckpoint",
    "LogLevel",
    "RecipeError",
    "Result",
    "Run",
    "Stop",
    "Stopped",
]


class ArtifactKind(Enum):
    """What an artifact is; the values are those of the API in lower case."""

    MODEL = "model"
    ADAPTER = "adapter"
    METRICS = "metrics"
    IMAGE = "image"
    REPORT = "report"
    MANIFEST = "manifest"
    OTHER = "other"


class AdviceKind(Enum):
    """What an advice is about; the values are those of the API in lower case."""

    NOT_DECREASING = "not_decreasing"
    OVERFITTING = "overfitting"
    DIVERGING = "diverging"
    DATA_STARVED = "data_starved"
    CLASS_IMBALANCE = "class_imbalance"
    SLOW_TRAINING = "slow_training"
    MEMORY = "memory"


class LogLevel(Enum):
    """How serious a line of the log is."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Result:
    """What a recipe returns when its work is done and every artifact is handed over."""

    metrics: Mapping[str, float]
    """Final values by name, such as "eval/accuracy_top1"."""
    step: int
    """Optimizer steps done."""
    best_step: int = 0
    """The step whose weights were kept; 0 where none was chosen."""
    early_stopped: bool = False
    summary: str = ""
    """One sentence for people."""


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint of this job in a local folder, each file verified against its recorded SHA-256."""

    dir: Path
    attempt: int
    """The attempt that saved it."""
    step: int
    """Optimizer steps done when it was saved."""
    epoch: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The metrics that it was saved with."""


@dataclass(frozen=True)
class DatasetFiles:
    """A dataset's files in a read-only local folder, unpacked, a single top folder taken off."""

    dir: Path
    sha256: str
    """Of the archive, in hex: the dataset's identity in caches and manifests."""
    report: Report
    """What its validation found: classes, splits, files to leave out. Its `findings` are empty."""


class Run(Protocol):
    """One attempt of a job as its recipe sees it. Every method may be called from any thread.

    A recipe reports as often as it likes: the run thins out what would be too much. At each step boundary
    it asks

        if stop := run.stop_requested():
            if stop is Stop.PAUSE:
                run.save_checkpoint(..., wait=True)
            raise Stopped(stop, step)

    and in its preparation stages, where there is nothing to save, it calls `check_stop` instead.
    """

    @property
    def job(self) -> str:
        """The job's name, "jobs/{job}"."""
        ...

    @property
    def attempt(self) -> int:
        """The attempt, from 1."""
        ...

    @property
    def device(self) -> str:
        """The device as this process sees it: "cpu" or "cuda:0"."""
        ...

    @property
    def accelerators(self) -> tuple[str, ...]:
        """Those of the trainer, also where this process runs on the processor and sees none of them."""
        ...

    @property
    def cpu_threads(self) -> int:
        """Threads for tensor arithmetic; the recipe hands it to its library."""
        ...

    @property
    def work_dir(self) -> Path:
        """An empty folder of this attempt's own; gone when the run is released."""
        ...

    @property
    def cache_dir(self) -> Path:
        """The trainer's cache folder. Derived data goes through `cached`, which knows the size limit."""
        ...

    @property
    def micro_batch_halvings(self) -> int:
        """How often the spec's micro-batch is to be halved, and its accumulation doubled, from the start."""
        ...

    @property
    def best_metric(self) -> float | None:
        """The best value of the watched metric up to the checkpoint to resume from; None where none is known.

        What lost attempts measured beyond the checkpoint is void. A recipe that keeps the best value in its
        own checkpoint, which also knows the step and the weights that it belongs to, does not need this.
        """
        ...

    def dataset(self) -> DatasetFiles:
        """The training dataset, fetched and unpacked once per trainer.

        Raises RecipeError: DATASET_UNREADABLE, STORE_UNAVAILABLE, STORAGE_FULL. Raises Stopped when the run
        is to stop meanwhile.
        """
        ...

    def validation_dataset(self) -> DatasetFiles | None:
        """The validation dataset where the job names one of its own; as `dataset`."""
        ...

    def model_files(self) -> Path | None:
        """The folder with the base model's files from the store, verified; None for a catalogue model.

        Raises RecipeError: BASE_MODEL_UNAVAILABLE, STORE_UNAVAILABLE, STORAGE_FULL.
        """
        ...

    def clip_model_files(self) -> Path | None:
        """The folder with the files of the CLIP model that scores what is drawn; None where none is wanted.

        Raises as `model_files`.
        """
        ...

    def source_artifacts(self) -> Path:
        """The folder with the artifacts of the finished job that this one works on, verified, read-only.

        For merge, export and evaluate; fetched once per trainer. Raises RecipeError: MODEL_NOT_FOUND where
        there are none or their bytes are gone, STORE_UNAVAILABLE, STORAGE_FULL.
        """
        ...

    def checkpoint(self) -> LoadedCheckpoint | None:
        """The checkpoint to resume from, fetched and verified once; None at a fresh start.

        Raises RecipeError: CHECKPOINT_CORRUPT, STORE_UNAVAILABLE, STORAGE_FULL.
        """
        ...

    def cached(self, kind: str, key: str, build: Callable[[Path], None]) -> Path:
        """The folder of derived data that `kind` and `key` name, made by `build(folder)` where it is absent.

        The key must name everything that the data depends on (such as the dataset's SHA-256 and the image
        size); it is hashed, so it may be of any length. `build` gets an empty folder; what it leaves there
        becomes visible whole or not at all, is read-only from then on, and stays at least as long as this
        run. Concurrent runs build once. Raises RecipeError STORAGE_FULL, and whatever `build` raises.
        """
        ...

    def stage(self, name: str, detail: str = "") -> AbstractContextManager[None]:
        """Marks a named part of the work, such as "load_model": events at its begin and end, with its time.

        Errors raised inside name the stage.
        """
        ...

    def progress(
        self, *, step: int, total_steps: int, epoch: float, total_epochs: float, unit: str, count: float
    ) -> None:
        """Tells how far the run is; call it after each step.

        `count` is how many `unit`s ("images", "tokens", "samples") were done since the last call, 0 for
        none. The rate (over the last seconds) and the time left are computed from it. At most 10 calls a
        second become events, and the last one always does.
        """
        ...

    def metrics(self, *, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Records measured values of one moment.

        Values named "train/…" become at most 10 events a second: points beyond that are dropped, not
        averaged, but for the last one before an evaluation, a checkpoint or the end, which is kept. A call
        that holds any other name ("eval/…") is never dropped. Values that are not finite are left out, with
        a warning once.
        """
        ...

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
        """Saves what is needed to resume after `step`.

        `write(folder)` runs now, in this thread, and puts files (sub-folders allowed) into an empty folder.
        The upload goes on in the background, and the checkpoint exists once all of its files are stored; a
        save whose predecessor is still being uploaded waits for it. `best` marks the best by the watched
        metric so far. Which older checkpoints are given up (keep the last so many, and the best) is decided
        here. `wait` returns only when the checkpoint is recorded. Raises RecipeError STORE_UNAVAILABLE or
        STORAGE_FULL where this save or the one before it failed for good.
        """
        ...

    def save_artifact(
        self, path: Path, *, name: str, kind: ArtifactKind, media_type: str, description: str = ""
    ) -> None:
        """Stores a local file as the job's artifact `name`, such as "model.safetensors"; returns when it is
        recorded.

        A name saved twice is replaced. Raises RecipeError STORE_UNAVAILABLE or STORAGE_FULL.
        """
        ...

    def sample_image(self, path: Path, *, title: str, step: int, name: str) -> None:
        """Stores a picture as the artifact `name` and shows it among the run's samples."""
        ...

    def sample_text(
        self, *, title: str, step: int, prompt: str, tuned: str, base: str = "", reference: str = ""
    ) -> None:
        """Shows a model's answer to a prompt among the run's samples."""
        ...

    def advise(
        self,
        kind: AdviceKind,
        *,
        observation: str,
        remedies: tuple[str, ...],
        changes: Mapping[str, object] | None = None,
        guide: str = "troubleshooting",
    ) -> None:
        """Tells the user what was seen, with numbers, and what to change.

        `changes` maps field paths of the spec ("hyperparameters.learning_rate") to new values. `guide` is
        the anchor of the guide's section. The same kind is told once a run.
        """
        ...

    def warn(self, code: str, message: str) -> None:
        """Tells that something is not as it should be while the run goes on; a code is told once a run."""
        ...

    def log(self, message: str, level: LogLevel = LogLevel.INFO) -> None:
        """Writes a line of the job's log. A flood is cut, and how many lines were left out is told."""
        ...

    def out_of_memory_recovered(
        self, *, step: int, old_batch_size: int, new_batch_size: int, gradient_accumulation_steps: int
    ) -> None:
        """Records that `step` (from 1: the one being made) was repeated with a smaller micro-batch."""
        ...

    def rolled_back(self, *, from_step: int, to_step: int, learning_rate_factor: float, reason: str) -> None:
        """Tells that training, which had come to `from_step`, goes on from `to_step` as it was there.

        What was measured and saved beyond it is void; the step may be saved again, with other bytes, and is
        to be, so that a later attempt knows of the factor by which the learning rate was cut. `reason` is
        for people, and becomes the warning "rolled_back" beside the event. Raises as `save_checkpoint`.
        """
        ...

    def finalizing(self) -> None:
        """Tells that training is over and what follows is saving. Later calls do nothing."""
        ...

    def stop_requested(self) -> Stop | None:
        """How the run is asked to stop, if it is. Cheap enough for every step and micro-batch."""
        ...

    def check_stop(self, step: int = 0) -> None:
        """Raises Stopped if a stop is requested; for stages where there is nothing to save."""
        ...

    def fault(self, point: str) -> None:
        """Does nothing, unless a test injects a fault at this point: "step=7" before step 7's forward,
        "evaluate", "save_checkpoint". Recipes call it where a failure is worth testing.
        """
        ...

    def manifest(self, **facts: Any) -> dict[str, Any]:
        """Where everything came from, as JSON values: the request and resolved settings, the dataset's
        hash, the base model and its revision, package versions, the machine; `facts` are added on top.
        """
        ...
