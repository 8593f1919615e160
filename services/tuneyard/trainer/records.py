"""Between a run's plain values and the messages that carry them: the one place where both are known."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from tuneyard.datasets import Report, SplitSummary
from tuneyard.trainer.checkpoints import (
    CheckpointFile,
    CheckpointKey,
    KeepPolicy,
    KeptCheckpoint,
    StoredCheckpoint,
)
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.run import AdviceKind, ArtifactKind, LogLevel, Result
from tuneyard.trainer.transfers import StoredBytes
from tuneyard.v1.dataset_pb2 import DatasetFormat
from tuneyard.v1.errors_pb2 import ErrorReason, JobError
from tuneyard.v1.event_pb2 import AdviceKind as AdviceKindProto
from tuneyard.v1.event_pb2 import (
    Artifact,
    Checkpoint,
    CheckpointEvent,
    ResultEvent,
    StoredFile,
)
from tuneyard.v1.event_pb2 import ArtifactKind as ArtifactKindProto
from tuneyard.v1.event_pb2 import LogLevel as LogLevelProto
from tuneyard.v1.job_pb2 import ResumePoint
from tuneyard.v1.trainer_service_pb2 import DatasetSource, StartRunRequest, StoredArtifact

MAX_TEXT_CHARACTERS = 8000
_FORMAT_PREFIX = "DATASET_FORMAT_"


def advice_kind(kind: AdviceKind) -> AdviceKindProto.ValueType:
    return AdviceKindProto.Value(f"ADVICE_KIND_{kind.name}")


def artifact_kind(kind: ArtifactKind) -> ArtifactKindProto.ValueType:
    return ArtifactKindProto.Value(f"ARTIFACT_KIND_{kind.name}")


def log_level(level: LogLevel) -> LogLevelProto.ValueType:
    return LogLevelProto.Value(f"LOG_LEVEL_{level.name}")


def dataset_format(source: DatasetSource) -> str:
    """The format's name as `tuneyard.datasets` has it."""
    name = DatasetFormat.Name(source.format).removeprefix(_FORMAT_PREFIX)
    return name.lower().replace("_", "-")


def dataset_report(source: DatasetSource) -> Report:
    """The validation report as `tuneyard.datasets` has it; findings do not travel."""
    report = source.report
    return Report(
        format=dataset_format(source),
        counts=dict(report.counts),
        classes=tuple(report.classes),
        splits={
            split.split: SplitSummary(
                samples=split.samples,
                per_class=dict(split.samples_per_class),
                boxes_per_class=dict(split.boxes_per_class),
            )
            for split in report.splits
        },
        excluded=tuple(report.excluded),
        samples=report.samples,
        median_width=report.median_width,
        median_height=report.median_height,
        groups=tuple(report.groups),
    )


def finite(values: Mapping[str, float]) -> dict[str, float]:
    """The values that are numbers; JSON has no others."""
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}


def keep_policy(request: StartRunRequest) -> KeepPolicy:
    """The job's policy, with the defaults that the API documents."""
    policy = request.spec.training.checkpoints
    return KeepPolicy(
        keep_last=policy.keep_last if policy.HasField("keep_last") else 2,
        keep_best=policy.keep_best if policy.HasField("keep_best") else True,
    )


def best_metric(request: StartRunRequest) -> float | None:
    """The best value so far, unless it was measured beyond the checkpoint: such a value will be measured
    again.
    """
    best = request.best_metric
    if not request.HasField("best_metric") or best.best_step > request.checkpoint.step:
        return None
    return best.best


def kept_checkpoints(request: StartRunRequest) -> list[KeptCheckpoint]:
    """The checkpoints of earlier attempts that are still there, oldest first."""
    return [
        KeptCheckpoint(CheckpointKey(kept.attempt, kept.step), kept.best) for kept in request.kept_checkpoints
    ]


def stored_checkpoint(checkpoint: Checkpoint) -> StoredCheckpoint:
    """A recorded checkpoint as the run handles it."""
    return StoredCheckpoint(
        key=CheckpointKey(checkpoint.attempt, checkpoint.step),
        epoch=checkpoint.epoch,
        metrics=dict(checkpoint.metrics),
        best=checkpoint.best,
        files=tuple(
            CheckpointFile(file.path, StoredBytes(file.key, file.size_bytes, file.sha256))
            for file in checkpoint.files
        ),
    )


def checkpoint_event(checkpoint: StoredCheckpoint) -> CheckpointEvent:
    """The record that makes a checkpoint exist."""
    message = Checkpoint(
        attempt=checkpoint.key.attempt,
        step=checkpoint.key.step,
        epoch=checkpoint.epoch,
        size_bytes=sum(file.stored.size_bytes for file in checkpoint.files),
        metrics=finite(checkpoint.metrics),
        best=checkpoint.best,
        files=[stored_file(file.path, file.stored) for file in checkpoint.files],
        available=True,
    )
    message.time.GetCurrentTime()
    superseded = [ResumePoint(attempt=old.attempt, step=old.step) for old in checkpoint.superseded]
    return CheckpointEvent(checkpoint=message, superseded=superseded)


def stored_file(path: str, stored: StoredBytes) -> StoredFile:
    return StoredFile(path=path, key=stored.key, size_bytes=stored.size_bytes, sha256=stored.sha256)


def stored_artifact(
    name: str, stored: StoredBytes, *, attempt: int, kind: ArtifactKind, media_type: str, description: str
) -> StoredArtifact:
    """The record that makes an artifact exist."""
    artifact = Artifact(
        path=name,
        kind=artifact_kind(kind),
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
        media_type=media_type,
        attempt=attempt,
        description=description,
    )
    artifact.create_time.GetCurrentTime()
    return StoredArtifact(artifact=artifact, file=stored_file(name, stored))


def result_event(result: Result) -> ResultEvent:
    return ResultEvent(
        metrics=finite(result.metrics),
        early_stopped=result.early_stopped,
        step=result.step,
        best_step=result.best_step,
        summary=result.summary,
    )


def job_error(error: RecipeError, *, stage: str) -> JobError:
    return JobError(
        reason=ErrorReason.Value(f"ERROR_REASON_{error.reason}"),
        message=clean(error.message),
        stage=stage,
        retryable=error.retryable,
        remedies=error.remedies,
    )


def request_facts(request: StartRunRequest) -> dict[str, Any]:
    """What a manifest says of the request, as JSON values in the proto's own field names."""
    facts: dict[str, Any] = {
        "job": request.job,
        "attempt": request.attempt,
        "spec": MessageToDict(request.spec, preserving_proto_field_name=True),
        "dataset": _dataset_facts(request, "dataset"),
        "base_model": _model_facts(request),
    }
    if request.HasField("validation_dataset"):
        facts["validation_dataset"] = _dataset_facts(request, "validation_dataset")
    if request.HasField("clip_model"):
        facts["clip_model"] = {"name": request.clip_model.name, "sha256": request.clip_model.sha256}
    if request.HasField("checkpoint"):
        facts["resumed_from"] = {"attempt": request.checkpoint.attempt, "step": request.checkpoint.step}
    return facts


def _dataset_facts(request: StartRunRequest, field: str) -> dict[str, Any] | None:
    if not request.HasField(field):  # type: ignore[arg-type]
        return None
    source: DatasetSource = getattr(request, field)
    return {
        "name": source.name,
        "format": dataset_format(source),
        "sha256": source.sha256,
        "size_bytes": source.size_bytes,
        # A version has its parent's bytes and hash, and trains on fewer files.
        "excluded_files": len(source.report.excluded),
    }


def _model_facts(request: StartRunRequest) -> dict[str, Any]:
    training = request.spec.training
    facts: dict[str, Any] = {"name": training.base_model, "revision": training.base_model_revision}
    if request.HasField("model"):
        model = request.model
        facts |= {
            "stored_as": model.name,
            "architecture": model.architecture,
            "sha256": model.sha256,
            "revision": model.revision or facts["revision"],
        }
    return facts


def read_request(path: Path) -> StartRunRequest:
    """The request that the server put into the run's folder."""
    return StartRunRequest.FromString(path.read_bytes())


def json_literal(value: object) -> str:
    """A setting's new value as an advice carries it."""
    return json.dumps(value, ensure_ascii=False)


def clean(text: str, *, limit: int = MAX_TEXT_CHARACTERS) -> str:
    """Text that a message can carry: no half characters, as undecodable file names have, and not too long."""
    return text[:limit].encode("utf-8", "replace").decode()
