"""Resolves a job's spec: its dataset and model are looked up, and a trainer fills in what was not set.

Used when a job is accepted, to refuse at once what cannot run, and again before its first dispatch where the
answer was not to be had then. Changes nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, Protocol

from tuneyard.gateway.kinds import FAMILIES, clip_model, source_job, task_of_training
from tuneyard.gateway.standing_models import WantedBase, wanted_base
from tuneyard.gateway.trainers import ESTIMATE_WITHIN, Trainers
from tuneyard.rpc.errors import TuneyardError, Violation, invalid, invalid_fields, reason_name
from tuneyard.v1 import (
    dataset_pb2,
    errors_pb2,
    event_pb2,
    job_pb2,
    preview_pb2,
    trainer_service_pb2,
    training_pb2,
    training_service_pb2,
)

_PREVIEWED_ROWS: Final = 10
_DECIDES_TOKENS: Final = frozenset(
    {
        "spec.dataset",
        "spec.base_model",
        "spec.language_model.chat_template",
        "spec.language_model.max_length",
        "spec.language_model.train_on",
    }
)
"""Fields that decide what a language model is trained on: where others are wrong, there is a preview."""


class DatasetLookup(Protocol):
    """What is read of datasets."""

    async def get(self, name: str) -> dataset_pb2.Dataset:
        """Returns one dataset with its report; DATASET_NOT_FOUND."""
        ...

    async def source(self, name: str) -> trainer_service_pb2.DatasetSource:
        """Returns a READY dataset as a run needs it, its report without findings; DATASET_NOT_FOUND."""
        ...


class ModelLookup(Protocol):
    """What is read of models."""

    async def source(self, name: str) -> trainer_service_pb2.ModelSource:
        """Returns a READY model with its files; MODEL_NOT_FOUND."""
        ...

    async def standing_for(self, wanted: WantedBase) -> trainer_service_pb2.ModelSource | None:
        """Returns the READY model of the store that stands for an architecture, an alias or a hub's id."""
        ...


class JobLookup(Protocol):
    """What is read of other jobs."""

    async def get(self, name: str) -> job_pb2.Job:
        """Returns one job; JOB_NOT_FOUND."""
        ...

    async def stored_artifacts(self, name: str) -> list[event_pb2.StoredFile]:
        """Returns the files of a job's artifacts, with paths relative to them."""
        ...


@dataclass(frozen=True)
class Waiting:
    """The spec cannot be resolved yet."""

    reason: str
    """What it waits for, for people."""


@dataclass(frozen=True)
class Sources:
    """Everything a run fetches, by key and hash."""

    dataset: trainer_service_pb2.DatasetSource | None = None
    validation_dataset: trainer_service_pb2.DatasetSource | None = None
    model: trainer_service_pb2.ModelSource | None = None
    clip_model: trainer_service_pb2.ModelSource | None = None
    """What scores the pictures of a text-to-image model, where that is wanted."""
    source_dataset: trainer_service_pb2.DatasetSource | None = None
    """What the source job was trained on, where it is still there."""
    source_spec: job_pb2.JobSpec | None = None
    source_artifacts: tuple[event_pb2.StoredFile, ...] = ()


class Resolver:
    """Looks up what a spec names, and asks a trainer to fill in the rest."""

    def __init__(
        self, *, trainers: Trainers, datasets: DatasetLookup, models: ModelLookup, jobs: JobLookup
    ) -> None:
        self._trainers = trainers
        self._datasets = datasets
        self._models = models
        self._jobs = jobs

    async def sources(self, spec: job_pb2.JobSpec) -> Sources | Waiting:
        """Returns what the spec names.

        DATASET_NOT_FOUND, DATASET_INVALID, MODEL_NOT_FOUND, JOB_NOT_FOUND; JOB_STATE_CONFLICT for a
        source job that has not succeeded.
        """
        if spec.WhichOneof("kind") != "training":
            return await self._from_job(spec)
        training = spec.training
        found: list[trainer_service_pb2.DatasetSource | None] = []
        for name in (training.dataset, training.data_split.validation_dataset):
            source = await self._dataset(name) if name else None
            if isinstance(source, Waiting):
                return source
            found.append(source)
        return Sources(
            dataset=found[0],
            validation_dataset=found[1],
            model=await self._base_model(training),
            clip_model=await self._clip_model(clip_model(spec), at="spec.text_to_image_lora.clip_model"),
        )

    async def resolve(
        self,
        family: "training_pb2.Family.ValueType",
        spec: job_pb2.JobSpec,
        *,
        within: timedelta = ESTIMATE_WITHIN,
    ) -> job_pb2.Estimate | Waiting:
        """Returns the prediction with the resolved spec.

        INVALID_FIELD with every violation, or the reason that tells it better, such as UNKNOWN_BASE_MODEL;
        DOES_NOT_FIT where the trainer says so; TRAINER_UNAVAILABLE where none answers in time.
        """
        estimate, reason = await self._asked(family, spec, within=within)
        if isinstance(estimate, Waiting):
            return estimate
        if estimate.violations:
            raise refusal(estimate.violations, reason)
        check_fit(estimate)
        return estimate

    async def estimate(
        self, family: "training_pb2.Family.ValueType", spec: job_pb2.JobSpec
    ) -> job_pb2.Estimate:
        """Returns the prediction with all violations; DATASET_NOT_READY if facts are missing."""
        sources = await self._ready_sources(spec, "estimate")
        estimate, _ = await self._estimated(family, spec, sources, within=ESTIMATE_WITHIN)
        return estimate

    async def preview(
        self,
        family: "training_pb2.Family.ValueType",
        spec: job_pb2.JobSpec,
        request: training_service_pb2.PreviewRequest,
    ) -> preview_pb2.Preview:
        """Returns what a job would train on; raises as `resolve` where that depends on what is wrong.

        DATASET_NOT_READY, NOT_SUPPORTED, and what a run would fail with.
        """
        sources = await self._ready_sources(spec, "preview")
        estimate, reason = await self._estimated(family, spec, sources, within=ESTIMATE_WITHIN)
        is_resolved = estimate.resolved_spec.WhichOneof("kind") is not None
        wrong = [each for each in estimate.violations if not is_resolved or each.field in _DECIDES_TOKENS]
        if wrong:
            raise refusal(wrong, reason)
        asked = trainer_service_pb2.TrainerServicePreviewRequest(
            spec=estimate.resolved_spec,
            dataset=sources.dataset,
            model=sources.model,
            split=request.split or "train",
            first_row=request.first_row,
            max_rows=request.max_rows or _PREVIEWED_ROWS,
        )
        return (await self._trainers.preview(family, asked)).preview

    async def _ready_sources(self, spec: job_pb2.JobSpec, wanted: str) -> Sources:
        sources = await self.sources(spec)
        if isinstance(sources, Waiting):
            raise TuneyardError("DATASET_NOT_READY", f"no {wanted} yet: waiting for {sources.reason}")
        return sources

    async def _asked(
        self, family: "training_pb2.Family.ValueType", spec: job_pb2.JobSpec, *, within: timedelta
    ) -> tuple[job_pb2.Estimate | Waiting, str]:
        sources = await self.sources(spec)
        if isinstance(sources, Waiting):
            return sources, ""
        return await self._estimated(family, spec, sources, within=within)

    async def _estimated(
        self,
        family: "training_pb2.Family.ValueType",
        spec: job_pb2.JobSpec,
        sources: Sources,
        *,
        within: timedelta,
    ) -> tuple[job_pb2.Estimate, str]:
        request = trainer_service_pb2.TrainerServiceEstimateRequest(
            spec=spec,
            dataset=sources.dataset,
            model=sources.model,
            source_spec=sources.source_spec,
            source_dataset=sources.source_dataset,
            clip_model=sources.clip_model,
        )
        response = await self._trainers.estimate(family, request, within=within)
        resolved = response.estimate.resolved_spec
        if sources.model and resolved.WhichOneof("kind") == "training":
            # From here on the job has this very model, whatever is stored for the name that it gave.
            resolved.training.base_model = sources.model.name
        return response.estimate, reason_name(response.reason)

    async def _base_model(
        self, training: training_pb2.TrainingSpec
    ) -> trainer_service_pb2.ModelSource | None:
        if training.base_model.startswith("models/"):
            return await self._models.source(training.base_model)
        # Random weights are those of no model.
        if _begins_at_random(training):
            return None
        task = task_of_training(training)
        catalogue = self._trainers.base_models(FAMILIES[task])
        wanted = wanted_base(training.base_model, catalogue, revision=training.base_model_revision, task=task)
        return await self._models.standing_for(wanted)

    async def _dataset(self, name: str) -> trainer_service_pb2.DatasetSource | Waiting:
        dataset = await self._datasets.get(name)
        if dataset.state == dataset_pb2.DATASET_STATE_INVALID:
            errors = [
                finding
                for finding in dataset.report.findings
                if finding.severity == dataset_pb2.SEVERITY_ERROR
            ]
            told = "; ".join(f"{e.path}: {e.message}" if e.path else e.message for e in errors[:3])
            more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
            raise TuneyardError("DATASET_INVALID", f"{name} was refused: {told}{more}", resource=name)
        if dataset.state != dataset_pb2.DATASET_STATE_READY:
            uploading = dataset.state == dataset_pb2.DATASET_STATE_UPLOADING
            return Waiting(f"{'the upload' if uploading else 'the validation'} of {name}")
        return await self._datasets.source(name)

    async def _from_job(self, spec: job_pb2.JobSpec) -> Sources | Waiting:
        name = source_job(spec)
        job = await self._jobs.get(name)
        if job.state != job_pb2.JOB_STATE_SUCCEEDED:
            state = job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_")
            raise TuneyardError(
                "JOB_STATE_CONFLICT",
                f"{name} is {state}: only the model of a job that succeeded can be used",
                resource=name,
            )
        training = job.resolved_spec.training
        found = await self._derived_datasets(spec, training)
        if isinstance(found, Waiting):
            return found
        return replace(
            found,
            model=await self._base_model_if_there(training),
            clip_model=await self._judge_of(spec, training),
            source_spec=job.resolved_spec,
            source_artifacts=tuple(await self._jobs.stored_artifacts(name)),
        )

    async def _derived_datasets(
        self, spec: job_pb2.JobSpec, training: training_pb2.TrainingSpec
    ) -> Sources | Waiting:
        """What a model is measured on, and what it was trained on where that is still there."""
        if not training.dataset:
            return Sources()
        if spec.WhichOneof("kind") in {"merge", "export"}:
            # What was made is tried on real samples; generated ones do where these are gone.
            held_out = training.data_split.validation_dataset
            return Sources(
                dataset=await self._dataset_if_there(training.dataset),
                validation_dataset=await self._dataset_if_there(held_out) if held_out else None,
            )
        name = spec.evaluate.dataset or training.dataset
        dataset = await self._dataset(name)
        if isinstance(dataset, Waiting):
            return dataset
        if name != training.dataset:
            return Sources(dataset=dataset, source_dataset=await self._dataset_if_there(training.dataset))
        found = Sources(dataset=dataset, source_dataset=dataset)
        if training.data_split.validation_dataset and spec.evaluate.split in {"val", "train"}:
            validation = await self._dataset(training.data_split.validation_dataset)
            if isinstance(validation, Waiting):
                return validation
            found = replace(found, validation_dataset=validation)
        return found

    async def _dataset_if_there(self, name: str) -> trainer_service_pb2.DatasetSource | None:
        try:
            found = await self._dataset(name)
        except TuneyardError as error:
            if error.reason not in {"DATASET_NOT_FOUND", "DATASET_INVALID"}:
                raise
            return None
        return None if isinstance(found, Waiting) else found

    async def _base_model_if_there(
        self, training: training_pb2.TrainingSpec
    ) -> trainer_service_pb2.ModelSource | None:
        if not training.base_model.startswith("models/"):
            # A language model may have been imported since; what works on its adapter compares the hashes.
            is_adapted = training.WhichOneof("task") == "language_model"
            return await self._base_model(training) if is_adapted else None
        try:
            return await self._models.source(training.base_model)
        except TuneyardError as error:
            if error.reason != "MODEL_NOT_FOUND":
                raise
            return None

    async def _judge_of(
        self, spec: job_pb2.JobSpec, training: training_pb2.TrainingSpec
    ) -> trainer_service_pb2.ModelSource | None:
        """The CLIP model of an evaluation: the one it names, else the training's where it is still there."""
        if training.WhichOneof("task") != "text_to_image_lora":
            if spec.evaluate.clip_model:
                raise invalid("spec.clip_model", "scores the pictures of text-to-image LoRAs; leave it unset")
            return None
        if spec.WhichOneof("kind") != "evaluate":
            return None
        if spec.evaluate.clip_model:
            return await self._clip_model(spec.evaluate.clip_model, at="spec.clip_model")
        try:
            return await self._clip_model(training.text_to_image_lora.clip_model, at="")
        except TuneyardError as error:
            if error.reason not in {"INVALID_FIELD", "BASE_MODEL_UNAVAILABLE"}:
                raise
            return None

    async def _clip_model(self, name: str, *, at: str) -> trainer_service_pb2.ModelSource | None:
        if not name:
            return None
        try:
            return await self._models.source(name)
        except TuneyardError as error:
            if error.reason != "MODEL_NOT_FOUND":
                raise
            raise invalid(
                at, f"{error.message}: import it, `tuneyard models import PATH_OR_HUB_ID`"
            ) from None


def _begins_at_random(training: training_pb2.TrainingSpec) -> bool:
    settings: training_pb2.ImageClassifier | training_pb2.ObjectDetector
    match training.WhichOneof("task"):
        case "image_classifier":
            settings = training.image_classifier
        case "object_detector":
            settings = training.object_detector
        case _:
            return False
    return settings.HasField("pretrained") and not settings.pretrained


def refusal(violations: Iterable[errors_pb2.FieldViolation], reason: str) -> TuneyardError:
    """Returns the error for a spec that a trainer refused; its paths begin at the request's root."""
    found = [Violation(violation.field, violation.description) for violation in violations]
    error = invalid_fields(found)
    return TuneyardError(reason, error.message, violations=found) if reason else error


def check_fit(estimate: job_pb2.Estimate) -> None:
    """Raises DOES_NOT_FIT with the numbers, and with what would fit, where a job cannot run anywhere."""
    needed = max(estimate.memory.device_bytes, estimate.memory.host_bytes)
    if estimate.fits or not needed:
        return
    ways = "; ".join(alternative.description for alternative in estimate.alternatives)
    raise TuneyardError(
        "DOES_NOT_FIT",
        f"the job needs about {needed / 1e9:.1f} GB of memory, more than any device of its family has"
        + (f"; what would fit: {ways}" if ways else ""),
        metadata={"memory_bytes": str(needed), "disk_bytes": str(estimate.disk_bytes)},
    )
