"""Accepts jobs: checks a request, resolves its spec where that is possible now, and records the job."""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from google.protobuf.message import Message

from tuneyard.gateway.db import Database
from tuneyard.gateway.jobs import JobRepository, resolve, state_name
from tuneyard.gateway.kinds import FAMILIES, source_job, task_of_training
from tuneyard.gateway.ledger import uncancelled
from tuneyard.gateway.merged_models import MergedModels
from tuneyard.gateway.placement import require_disk
from tuneyard.gateway.requests import RequestKey, made_before
from tuneyard.gateway.resolver import DatasetLookup, Resolver, Waiting
from tuneyard.gateway.spec_rules import label_violations, training_violations
from tuneyard.gateway.trainers import Trainers
from tuneyard.gateway.transitions import TERMINAL
from tuneyard.rpc.errors import TuneyardError, Violation, invalid_fields
from tuneyard.rpc.validation import usual_range_warnings, validate
from tuneyard.v1 import dataset_pb2, job_pb2, preview_pb2, training_pb2, training_service_pb2

# A job is written anew with each batch of its events; the weights of 20,000 classes fit in.
MAX_JOB_BYTES: Final = 1024 * 1024

# A caller waits for no trainer that does not answer: the job does, and is resolved before it starts.
_RESOLVED_WITHIN: Final = timedelta(seconds=3)

# Reasons that an estimate, which never fails for what is wrong with the spec, tells as a violation.
_AS_VIOLATIONS: Final = {
    "DATASET_NOT_FOUND": "spec.dataset",
    "DATASET_INVALID": "spec.dataset",
    "MODEL_NOT_FOUND": "spec.base_model",
}


class JobIntake:
    """Turns requests into jobs."""

    def __init__(
        self,
        *,
        db: Database,
        jobs: JobRepository,
        resolver: Resolver,
        datasets: DatasetLookup,
        trainers: Trainers,
        merged: MergedModels,
        on_change: Callable[[], None],
    ) -> None:
        """`on_change` is called after each new job."""
        self._db = db
        self._jobs = jobs
        self._resolver = resolver
        self._datasets = datasets
        self._trainers = trainers
        self._merged = merged
        self._on_change = on_change

    async def train(self, request: training_service_pb2.TrainRequest, key: RequestKey | None) -> job_pb2.Job:
        """Creates a training job, or only shows it where `validate_only` is set."""
        violations = _field_violations(request)
        violations += _prefixed(training_violations(request.spec)) if request.HasField("spec") else []
        _refuse(violations + label_violations(request.labels))
        job = job_pb2.Job(
            spec=job_pb2.JobSpec(training=request.spec), labels=request.labels, priority=request.priority
        )
        return await self._accept(job, key, creates=not request.validate_only)

    async def derive(
        self,
        spec: job_pb2.JobSpec,
        request: "training_service_pb2.MergeRequest | training_service_pb2.ExportRequest"
        " | training_service_pb2.EvaluateRequest",
        key: RequestKey | None,
    ) -> job_pb2.Job:
        """Creates a job that works on a finished job's model. NOT_SUPPORTED where no trainer can."""
        _refuse(_field_violations(request) + label_violations(request.labels))
        job = job_pb2.Job(spec=spec, labels=request.labels, priority=request.priority)
        return await self._accept(job, key)

    async def rerun(
        self, request: training_service_pb2.RerunJobRequest, key: RequestKey | None
    ) -> job_pb2.Job:
        """Creates a job from a terminal one; JOB_STATE_CONFLICT from others."""
        _refuse(_field_violations(request) + label_violations(request.labels))
        if made := await self._made_before(key):
            return made
        old = await self._jobs.get(request.name)
        if old.state not in TERMINAL:
            raise TuneyardError(
                "JOB_STATE_CONFLICT",
                f"{old.name} is {state_name(old)}; only a job that has ended can be run again",
                metadata={"state": state_name(old)},
                resource=old.name,
            )
        spec = request.spec if request.spec.WhichOneof("kind") else old.spec
        if spec.WhichOneof("kind") == "training":
            _refuse(_prefixed(training_violations(spec.training), "spec.training."))
        job = job_pb2.Job(
            spec=spec,
            labels={**old.labels, **request.labels},
            priority=request.priority if request.HasField("priority") else old.priority,
            rerun_of=old.name,
        )
        return await self._accept(job, key)

    async def estimate(self, request: training_service_pb2.EstimateRequest) -> job_pb2.Estimate:
        """Predicts what a spec needs, with every violation. DATASET_NOT_READY, TRAINER_UNAVAILABLE."""
        violations = _field_violations(request)
        violations += _prefixed(training_violations(request.spec)) if request.HasField("spec") else []
        if violations:
            return _estimate_of(violations)
        spec = job_pb2.JobSpec(training=request.spec)
        try:
            return await self._resolver.estimate(_family_of_training(request.spec), spec)
        except TuneyardError as error:
            if error.reason == "INVALID_FIELD":
                return _estimate_of(list(error.violations))
            if error.reason not in _AS_VIOLATIONS:
                raise
            return _estimate_of([Violation(_AS_VIOLATIONS[error.reason], error.message)])

    async def preview(self, request: training_service_pb2.PreviewRequest) -> preview_pb2.Preview:
        """Shows what a spec would train on. Raises as `estimate` does, and what that tells as violations."""
        violations = _field_violations(request)
        violations += _prefixed(training_violations(request.spec)) if request.HasField("spec") else []
        if not violations and not request.spec.dataset:
            violations = [Violation("spec.dataset", "is required: it is what is shown")]
        _refuse(violations)
        spec = job_pb2.JobSpec(training=request.spec)
        return await self._resolver.preview(_family_of_training(request.spec), spec, request)

    async def _accept(self, job: job_pb2.Job, key: RequestKey | None, *, creates: bool = True) -> job_pb2.Job:
        if made := await self._made_before(key):
            return made
        job.family = await self._family(job.spec)
        self._trainers.links_of(job.family)
        await self._merged.check(job.spec.merge)
        await self._resolve(job)
        if not creates:
            job.state, job.desired = job_pb2.JOB_STATE_QUEUED, job_pb2.DESIRED_STATE_RUN
            return job
        return await uncancelled(self._create(job, key))

    async def _create(self, job: job_pb2.Job, key: RequestKey | None) -> job_pb2.Job:
        """Records a job and takes its place: nobody would come back for one whose caller has left between."""
        created = await self._jobs.create(job, request=key)
        try:
            await self._merged.reserve(created)
        except TuneyardError:
            # Another call took the place a moment before.
            await self._jobs.request_cancel(created.name)
            raise
        self._on_change()
        return created

    async def _resolve(self, job: job_pb2.Job) -> None:
        """Fills in what can be told now; the controller asks for the rest before the first attempt."""
        is_training = job.spec.WhichOneof("kind") == "training"
        if is_training:
            await self._check_uploaded(job.spec.training)
            job.warnings.extend(
                f"{warning.field}: {warning.description}"
                for warning in usual_range_warnings(job.spec.training, prefix="spec")
            )
        try:
            estimate = await self._resolver.resolve(job.family, job.spec, within=_RESOLVED_WITHIN)
        except TuneyardError as error:
            # A training spec can wait for its trainer; whether a trainer merges or exports only it can say.
            if error.reason != "TRAINER_UNAVAILABLE" or not is_training:
                raise
            return
        if isinstance(estimate, Waiting):
            return
        if estimate.resolved_spec.WhichOneof("kind") is None:
            raise TuneyardError(
                "NOT_SUPPORTED", "the trainer of this family does not do this in this release"
            )
        require_disk(self._trainers.links_of(job.family), estimate)
        resolve(job, estimate)

    async def _check_uploaded(self, spec: training_pb2.TrainingSpec) -> None:
        for name in filter(None, (spec.dataset, spec.data_split.validation_dataset)):
            dataset = await self._datasets.get(name)
            if dataset.state == dataset_pb2.DATASET_STATE_UPLOADING:
                raise TuneyardError(
                    "DATASET_NOT_READY", f"{name} waits for its bytes: finish its upload first", resource=name
                )

    async def _made_before(self, key: RequestKey | None) -> job_pb2.Job | None:
        """What the same request made: it is returned whatever has become of its dataset since."""
        name = await made_before(self._db, key)
        return await self._jobs.get(name) if name else None

    async def _family(self, spec: job_pb2.JobSpec) -> "training_pb2.Family.ValueType":
        if spec.WhichOneof("kind") == "training":
            return _family_of_training(spec.training)
        return (await self._jobs.get(source_job(spec))).family


def _field_violations(request: Message) -> list[Violation]:
    """What is wrong with single fields. What no job could hold is not looked at: it would hold up others."""
    if request.ByteSize() > MAX_JOB_BYTES:
        raise TuneyardError(
            "MESSAGE_TOO_LARGE", f"a job's spec and labels have at most {MAX_JOB_BYTES} bytes"
        )
    return validate(request)


def _family_of_training(spec: training_pb2.TrainingSpec) -> "training_pb2.Family.ValueType":
    return FAMILIES[task_of_training(spec)]


def _estimate_of(violations: list[Violation]) -> job_pb2.Estimate:
    estimate = job_pb2.Estimate()
    for violation in violations:
        estimate.violations.add(field=violation.field, description=violation.description)
    return estimate


def _prefixed(violations: list[Violation], prefix: str = "spec.") -> list[Violation]:
    return [Violation(f"{prefix}{found.field}", found.description) for found in violations]


def _refuse(violations: list[Violation]) -> None:
    if violations:
        raise invalid_fields(violations)
