"""What the fake family answers before a job: the resolved spec, a prediction, its one catalogue entry."""

from collections.abc import Iterator, Sequence

from google.protobuf.message import Message

from tuneyard.trainer.fake.script import SCHEME, Script, ScriptError
from tuneyard.v1.errors_pb2 import ErrorReason, FieldViolation
from tuneyard.v1.job_pb2 import Estimate, JobSpec, MemoryUse
from tuneyard.v1.model_service_pb2 import Availability, BaseModel
from tuneyard.v1.system_pb2 import Device
from tuneyard.v1.trainer_service_pb2 import TrainerServiceEstimateRequest, TrainerServiceEstimateResponse
from tuneyard.v1.training_pb2 import Family, TaskKind, TrainingSpec

ENTRY = "tuneyard.trainer.fake.entry"
TASKS = {
    "vision": (
        Family.FAMILY_VISION,
        (TaskKind.TASK_KIND_IMAGE_CLASSIFIER, TaskKind.TASK_KIND_OBJECT_DETECTOR),
    ),
    "diffusion": (Family.FAMILY_DIFFUSION, (TaskKind.TASK_KIND_TEXT_TO_IMAGE_LORA,)),
    "llm": (Family.FAMILY_LLM, (TaskKind.TASK_KIND_LANGUAGE_MODEL,)),
}
"""The families that the fake trainer can stand for, with their tasks."""
METHODS = ("Classify", "Detect", "GenerateText", "GenerateImages")
"""What the fake family's finished models answer."""

_BATCH_SIZE = 8
_MEMORY_BYTES = 128 << 20


def estimate(
    request: TrainerServiceEstimateRequest, devices: Sequence[Device]
) -> TrainerServiceEstimateResponse:
    """Resolves a training spec. A fake run fits on every device."""
    del devices
    if request.spec.WhichOneof("kind") != "training":
        return _refused(ErrorReason.ERROR_REASON_NOT_SUPPORTED, "spec", "The fake family only trains.")
    given = request.spec.training
    try:
        script = Script.parse(given.base_model)
    except ScriptError as error:
        known = given.base_model.startswith(SCHEME)
        unknown_model = ErrorReason.ERROR_REASON_UNKNOWN_BASE_MODEL
        reason = ErrorReason.ERROR_REASON_UNSPECIFIED if known else unknown_model
        return _refused(reason, "spec.base_model", str(error))
    resolved = resolve(given, script)
    total_steps = planned_steps(resolved, script)
    hyperparameters = resolved.hyperparameters
    checkpoint_bytes = 16 * script.size + script.checkpoint_bytes + 8 * total_steps
    return TrainerServiceEstimateResponse(
        estimate=Estimate(
            resolved_spec=JobSpec(training=resolved),
            given_fields=list(_set_fields(given, "")),
            memory=MemoryUse(host_bytes=_MEMORY_BYTES),
            disk_bytes=2 * checkpoint_bytes + script.artifact_bytes,
            artifact_bytes=checkpoint_bytes + script.artifact_bytes,
            total_steps=total_steps,
            effective_batch_size=effective_batch_size(resolved),
            train_samples=script.samples,
            largest_batch_size=script.oom_above or hyperparameters.batch_size,
            fits=True,
        )
    )


def resolve(given: TrainingSpec, script: Script) -> TrainingSpec:
    """The spec with every value that the fake recipe reads."""
    resolved = TrainingSpec()
    resolved.CopyFrom(given)
    hyperparameters = resolved.hyperparameters
    if not hyperparameters.HasField("batch_size"):
        hyperparameters.batch_size = _BATCH_SIZE
    if not hyperparameters.HasField("gradient_accumulation_steps"):
        hyperparameters.gradient_accumulation_steps = 1
    if not hyperparameters.HasField("learning_rate"):
        hyperparameters.learning_rate = 0.05
    if not hyperparameters.HasField("max_steps") and not hyperparameters.HasField("epochs"):
        hyperparameters.max_steps = script.steps
    if not hyperparameters.HasField("eval_steps") and script.eval:
        hyperparameters.eval_steps = script.eval
    if not resolved.checkpoints.HasField("save_steps") and script.save:
        resolved.checkpoints.save_steps = script.save
    if not resolved.checkpoints.HasField("keep_last"):
        resolved.checkpoints.keep_last = 2
    if not resolved.checkpoints.HasField("keep_best"):
        resolved.checkpoints.keep_best = True
    if not resolved.HasField("seed"):
        resolved.seed = 0
    return resolved


def effective_batch_size(resolved: TrainingSpec) -> int:
    """Samples per optimizer step."""
    return resolved.hyperparameters.batch_size * resolved.hyperparameters.gradient_accumulation_steps


def steps_per_epoch(resolved: TrainingSpec, script: Script) -> int:
    """Optimizer steps of a pass over the samples; the last one may have fewer of them."""
    return -(-script.samples // effective_batch_size(resolved))


def planned_steps(resolved: TrainingSpec, script: Script) -> int:
    """Optimizer steps of the whole run."""
    if resolved.hyperparameters.HasField("max_steps"):
        return resolved.hyperparameters.max_steps
    return resolved.hyperparameters.epochs * steps_per_epoch(resolved, script)


def base_models(family: "Family.ValueType", tasks: "Sequence[TaskKind.ValueType]") -> list[BaseModel]:
    """The catalogue: one model."""
    return [
        BaseModel(
            id=SCHEME,
            display_name="Fake model",
            family=family,
            tasks=tasks,
            description="Trains nothing. What it does is scripted by its name.",
            parameter_count=Script().size,
            minimum_memory_bytes=_MEMORY_BYTES,
            recommended_memory_bytes=_MEMORY_BYTES,
            is_recommended=True,
            availability=Availability.AVAILABILITY_IN_STORE,
            license="Apache-2.0",
        )
    ]


def _set_fields(message: Message, prefix: str) -> Iterator[str]:
    for descriptor, value in message.ListFields():
        path = f"{prefix}{descriptor.name}"
        if isinstance(value, Message):
            yield from _set_fields(value, f"{path}.")
        else:
            yield path


def _refused(reason: "ErrorReason.ValueType", field: str, description: str) -> TrainerServiceEstimateResponse:
    violation = FieldViolation(field=field, description=description)
    return TrainerServiceEstimateResponse(estimate=Estimate(violations=[violation]), reason=reason)
