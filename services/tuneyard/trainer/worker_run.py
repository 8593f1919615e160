"""The `Run` of a worker process: reports go to the journal, bytes to the store, stops come from the control
file.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from tuneyard.storage import ObjectStore, open_store
from tuneyard.trainer.cache import Cache
from tuneyard.trainer.checkpoints import CheckpointKey, CheckpointSaver, StoredCheckpoint, load_checkpoint
from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.faults import Faults
from tuneyard.trainer.inputs import Inputs, empty_folder
from tuneyard.trainer.journal import JournalWriter
from tuneyard.trainer.manifest import machine, package_versions
from tuneyard.trainer.memory import PeakMemory
from tuneyard.trainer.records import (
    advice_kind,
    best_metric,
    checkpoint_event,
    clean,
    json_literal,
    keep_policy,
    kept_checkpoints,
    request_facts,
    stored_artifact,
    stored_checkpoint,
)
from tuneyard.trainer.reporting import (
    CPU_WRITE_INTERVAL_SECONDS,
    WRITE_INTERVAL_SECONDS,
    Reporter,
    Wake,
    duration,
)
from tuneyard.trainer.run import AdviceKind, ArtifactKind, DatasetFiles, LoadedCheckpoint, LogLevel
from tuneyard.trainer.settings import WorkerSettings
from tuneyard.trainer.transfers import TransferCancelled, Transfers, local_path
from tuneyard.v1.event_pb2 import (
    AdviceEvent,
    OutOfMemoryRecoveredEvent,
    RolledBackEvent,
    SampleEvent,
    StageEvent,
    TextSample,
)
from tuneyard.v1.job_pb2 import MemoryUse, ProgressEvent
from tuneyard.v1.trainer_service_pb2 import RunFinalizing, StartRunRequest

_STOPS = {b"1": Stop.PAUSE, b"2": Stop.CANCEL}
_TICK_SECONDS, _MEMORY_SECONDS = 0.2, 1.0


class WorkerRun:
    """One attempt, as the recipe in this process sees it; see `Run` for what its methods promise."""

    def __init__(
        self, request: StartRunRequest, *, run_dir: Path, settings: WorkerSettings, journal: JournalWriter
    ) -> None:
        self._request = request
        self._settings = settings
        self.job = request.job
        self.attempt = request.attempt
        self.device = "cpu" if settings.device == "cpu" else "cuda:0"
        self.accelerators = settings.accelerators
        self.cpu_threads = settings.cpu_threads
        self.micro_batch_halvings = request.micro_batch_halvings
        self.best_metric = best_metric(request)
        self.cache_dir = settings.cache_dir
        self._scratch = empty_folder(run_dir / "scratch")
        self.work_dir = empty_folder(self._scratch / "work")
        self._wake = Wake(settings.wake_socket, name=run_dir.name)
        interval = CPU_WRITE_INTERVAL_SECONDS if self.device == "cpu" else WRITE_INTERVAL_SECONDS
        self.reporter = Reporter(journal, wake=self._wake, write_interval_seconds=interval)
        self._control = os.open(run_dir / "control", os.O_RDONLY | os.O_CLOEXEC)
        self._faults = Faults(settings.faults, attempt=request.attempt)
        self._stages: list[str] = []
        self.failed_stage = ""
        self._loaded: LoadedCheckpoint | None = None
        self._loading = threading.Lock()
        self._ended = threading.Event()
        self._build_transfers()

    def _build_transfers(self) -> None:
        request, settings = self._request, self._settings
        # The prefix is the attempt's own, so that whatever a stale worker still stores meets nobody's bytes.
        self._prefix = request.prefix.rstrip("/") + "/"
        saving, reading = (
            Transfers(
                open_store=self._open_store,
                patience=settings.store_patience,
                is_cancelled=is_cancelled,
                on_waiting=self._tell_waiting,
                down_seconds=self._faults.store_down_seconds,
            )
            for is_cancelled in (self._is_cancelled, self._is_stopping)
        )
        self._transfers = saving
        self._reading = reading
        self._cache = Cache(
            settings.cache_dir, limit_bytes=settings.cache_limit_bytes, check=self._raise_if_stopping
        )
        self._inputs = Inputs(self._cache, transfers=reading, should_stop=self._is_stopping)
        self._saver = CheckpointSaver(
            self._scratch / "checkpoints",
            prefix=self._prefix,
            transfers=saving,
            record=lambda checkpoint: self.reporter.record(checkpoint=checkpoint_event(checkpoint)),
            policy=keep_policy(request),
            kept=kept_checkpoints(request),
        )

    def _open_store(self) -> ObjectStore:
        return open_store(self._settings.store_url, settings=self._settings.store)

    def _tell_waiting(self) -> None:
        self.reporter.warn(
            "store_unavailable", "The object store does not answer; what is to be stored waits."
        )

    # Inputs.

    def dataset(self) -> DatasetFiles:
        if not self._request.HasField("dataset"):
            raise RecipeError("The job names no dataset.", reason="DATASET_UNREADABLE")
        with self._stop_ends_it():
            return self._inputs.dataset(self._request.dataset)

    def validation_dataset(self) -> DatasetFiles | None:
        if not self._request.HasField("validation_dataset"):
            return None
        with self._stop_ends_it():
            return self._inputs.dataset(self._request.validation_dataset)

    def model_files(self) -> Path | None:
        if not self._request.model.files:
            return None
        with self._stop_ends_it():
            return self._inputs.model_files(self._request.model)

    def clip_model_files(self) -> Path | None:
        if not self._request.clip_model.files:
            return None
        with self._stop_ends_it():
            return self._inputs.model_files(self._request.clip_model, what="CLIP model")

    def source_artifacts(self) -> Path:
        with self._stop_ends_it():
            return self._inputs.source_artifacts(self._request.source_artifacts)

    def checkpoint(self) -> LoadedCheckpoint | None:
        if not self._request.HasField("checkpoint"):
            return None
        with self._loading, self._stop_ends_it():
            if self._loaded is None:
                self._loaded = load_checkpoint(
                    stored_checkpoint(self._request.checkpoint),
                    self._scratch / "resume",
                    transfers=self._reading,
                )
            return self._loaded

    def cached(self, kind: str, key: str, build: Callable[[Path], None]) -> Path:
        with self._stop_ends_it():
            return self._cache.entry(kind, key, build)

    # Reports.

    @contextmanager
    def stage(self, name: str, detail: str = "") -> Iterator[None]:
        self._stages.append(name)
        self.failed_stage = ""
        self.reporter.record(stage=StageEvent(name=name, detail=clean(detail)))
        started = time.monotonic()
        try:
            yield
        except BaseException:
            self.failed_stage = self.failed_stage or name
            raise
        finally:
            self._stages.remove(name)
        elapsed = duration(time.monotonic() - started)
        self.reporter.record(stage=StageEvent(name=name, detail=clean(detail), done=True, elapsed=elapsed))

    def progress(
        self, *, step: int, total_steps: int, epoch: float, total_epochs: float, unit: str, count: float
    ) -> None:
        share = step / total_steps if total_steps else epoch / total_epochs if total_epochs else 0.0
        event = ProgressEvent(
            step=step,
            total_steps=total_steps,
            epoch=epoch,
            total_epochs=total_epochs,
            unit=unit,
            fraction=min(1.0, max(0.0, share)),
            stage=self._stages[-1] if self._stages else "",
        )
        self.reporter.progress(event, units=count)

    def metrics(self, *, step: int, epoch: float, values: Mapping[str, float]) -> None:
        self.reporter.metrics(step=step, epoch=epoch, values=values)

    def sample_image(self, path: Path, *, title: str, step: int, name: str) -> None:
        kind = ArtifactKind.IMAGE
        self.save_artifact(path, name=name, kind=kind, media_type="image/png", description=title)
        self.reporter.record(sample=SampleEvent(title=title, step=step, artifact_path=name))

    def sample_text(
        self, *, title: str, step: int, prompt: str, tuned: str, base: str = "", reference: str = ""
    ) -> None:
        text = TextSample(
            prompt=clean(prompt), tuned=clean(tuned), base=clean(base), reference=clean(reference)
        )
        self.reporter.record(sample=SampleEvent(title=title, step=step, text=text))

    def advise(
        self,
        kind: AdviceKind,
        *,
        observation: str,
        remedies: tuple[str, ...],
        changes: Mapping[str, object] | None = None,
        guide: str = "troubleshooting",
    ) -> None:
        if self.reporter.once(f"advice:{kind.value}"):
            event = AdviceEvent(
                kind=advice_kind(kind),
                observation=clean(observation),
                remedies=remedies,
                changes={path: json_literal(value) for path, value in (changes or {}).items()},
                guide=guide,
            )
            self.reporter.note(advice=event)

    def warn(self, code: str, message: str) -> None:
        self.reporter.warn(code, message)

    def log(self, message: str, level: LogLevel = LogLevel.INFO) -> None:
        self.reporter.log(message, level)

    def out_of_memory_recovered(
        self, *, step: int, old_batch_size: int, new_batch_size: int, gradient_accumulation_steps: int
    ) -> None:
        event = OutOfMemoryRecoveredEvent(
            step=step,
            old_batch_size=old_batch_size,
            new_batch_size=new_batch_size,
            gradient_accumulation_steps=gradient_accumulation_steps,
        )
        self.reporter.record(oom_recovered=event)

    def rolled_back(self, *, from_step: int, to_step: int, learning_rate_factor: float, reason: str) -> None:
        try:
            self._saver.go_back(to_step)
        except TransferCancelled:
            raise Stopped(Stop.CANCEL, to_step) from None
        event = RolledBackEvent(
            from_step=from_step,
            to_step=to_step,
            learning_rate_factor=learning_rate_factor,
            reason=clean(reason),
        )
        self.reporter.record(rolled_back=event)
        self.reporter.warn("rolled_back", reason)

    def finalizing(self) -> None:
        if self.reporter.once("finalizing"):
            self.reporter.record(finalizing=RunFinalizing())

    # Outputs.

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
        key = CheckpointKey(self.attempt, step)
        checkpoint = StoredCheckpoint(key=key, epoch=epoch, metrics=dict(metrics), best=best)
        try:
            self._saver.save(checkpoint, write, wait=wait)
        except TransferCancelled:
            raise Stopped(Stop.CANCEL, step) from None

    def save_artifact(
        self, path: Path, *, name: str, kind: ArtifactKind, media_type: str, description: str = ""
    ) -> None:
        # The same rule as for what is fetched: a name stays below the attempt's folder.
        local_path(self._scratch / "names", name)
        with self._stop_ends_it():
            stored = self._transfers.upload(path, f"{self._prefix}artifacts/{name}")
        artifact = stored_artifact(
            name,
            stored,
            attempt=self.attempt,
            kind=kind,
            media_type=media_type,
            description=description,
        )
        self.reporter.record(artifact=artifact)

    def manifest(self, **facts: Any) -> dict[str, Any]:
        platform = machine() | {"device": self.device, "cpu_threads": self.cpu_threads}
        return request_facts(self._request) | {"packages": package_versions(), "machine": platform} | facts

    # Stops and faults.

    def stop_requested(self) -> Stop | None:
        if self._control < 0:
            return Stop.CANCEL
        return _STOPS.get(os.pread(self._control, 1, 0))

    def check_stop(self, step: int = 0) -> None:
        if stop := self.stop_requested():
            raise Stopped(stop, step)

    def fault(self, point: str) -> None:
        if self._faults:
            self._faults.reach(point)

    def _is_cancelled(self) -> bool:
        return self.stop_requested() is Stop.CANCEL

    def _is_stopping(self) -> bool:
        return self.stop_requested() is not None

    def _raise_if_stopping(self) -> None:
        if self._is_stopping():
            raise TransferCancelled

    @contextmanager
    def _stop_ends_it(self) -> Iterator[None]:
        """Turns a transfer that was given up into the stop that ended it."""
        try:
            yield
        except TransferCancelled:
            self._raise_stopped()

    def _raise_stopped(self) -> NoReturn:
        # A resume may have taken a pause back in between; the run leaves all the same, and is queued again.
        raise Stopped(self.stop_requested() or Stop.PAUSE) from None

    # The worker's side.

    def watch(self) -> None:
        """Starts the thread that writes what is held back and measures memory, until `finish_uploads`."""
        threading.Thread(target=self._tick, name="ticker", daemon=True).start()

    @property
    def stored_step(self) -> int:
        """The step of the newest checkpoint that is stored; 0 if there is none."""
        return self._saver.stored_step

    def finish_uploads(self, *, timeout_seconds: float | None = None) -> bool:
        """Waits for the last checkpoint's upload, and ends the ticker. Raises what the upload failed with."""
        self._ended.set()
        with self._stop_ends_it():
            return self._saver.drain(timeout_seconds=timeout_seconds)

    def close(self) -> None:
        """Lets go of the control file and of the cache's entries; uploads are not waited for."""
        self._ended.set()
        self.reporter.close()
        self._wake.close()
        self._cache.close()
        # The descriptor's number may be given to another file: who still asks is told to leave.
        control, self._control = self._control, -1
        os.close(control)

    def _warn_of_silence(self) -> None:
        longest = self._settings.silence_warning.total_seconds()
        if 0 < longest < self.reporter.silence_seconds:
            stage = f" in the stage {self._stages[-1]}" if self._stages else ""
            self.reporter.warn(
                "silent_run",
                f"The run has reported nothing for {longest / 60:.3g} minutes{stage}: it may hang.",
            )

    def _tick(self) -> None:
        peak = PeakMemory()
        measured = float("-inf")
        while not self._ended.wait(_TICK_SECONDS):
            self.reporter.tick()
            self._warn_of_silence()
            if time.monotonic() - measured >= _MEMORY_SECONDS:
                measured = time.monotonic()
                if memory := peak.sample():
                    use = MemoryUse(device_bytes=memory.device_bytes, host_bytes=memory.host_bytes)
                    self.reporter.note(peak_memory=use)
