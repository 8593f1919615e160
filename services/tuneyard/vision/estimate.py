"""What the trainer answers before a job: the resolved spec, what is wrong with it, and what it would need.

Imports no torch. How memory is predicted stands in `memory`.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from google.protobuf.message import Message

from tuneyard.v1 import errors_pb2, job_pb2, system_pb2, trainer_service_pb2, training_pb2
from tuneyard.vision import derived
from tuneyard.vision.architectures import Architecture, architectures
from tuneyard.vision.checks import Violation, unknown_model, violations, warnings, wrong_format
from tuneyard.vision.facts import DataFacts, data_facts
from tuneyard.vision.memory import Workload
from tuneyard.vision.recommended import resolve

_USABLE_SHARE = 0.9
"""Of a device's memory: fragmentation and other programs take the rest."""
_REPORT_BYTES = 2 << 20
_ASSUMED_CLASSES = 1000

Request = trainer_service_pb2.TrainerServiceEstimateRequest
Response = trainer_service_pb2.TrainerServiceEstimateResponse


def estimate(request: Request, devices: Sequence[system_pb2.Device]) -> Response:
    """Resolves the spec of an image classifier and predicts what it needs on the largest of the devices."""
    if request.spec.WhichOneof("kind") != "training":
        return derived.estimate(request)
    given = request.spec.training
    if given.WhichOneof("task") != "image_classifier":
        return _refused(
            errors_pb2.ERROR_REASON_NOT_SUPPORTED,
            Violation(field="spec", description="This release trains image classifiers only."),
        )
    name = request.model.architecture or given.base_model
    architecture = architectures().get(name)
    if architecture is None:
        return _refused(*unknown_model(name))
    if violation := wrong_format(request.dataset.format):
        return _refused(errors_pb2.ERROR_REASON_INVALID_FIELD, violation)
    resolved = resolve(given)
    facts = data_facts(resolved, request.dataset)
    found = violations(given, resolved, architecture, facts, devices)
    answer = job_pb2.Estimate(
        resolved_spec=job_pb2.JobSpec(training=resolved),
        given_fields=list(given_fields(given)),
        violations=found,
        warnings=warnings(given, resolved, architecture, facts),
        total_steps=planned_steps(resolved, facts),
        effective_batch_size=_effective_batch_size(resolved),
        train_samples=facts.train_samples if facts else 0,
        validation_samples=facts.validation_samples if facts else 0,
    )
    reason = errors_pb2.ERROR_REASON_INVALID_FIELD if found else errors_pb2.ERROR_REASON_UNSPECIFIED
    device = _largest_device(resolved, devices)
    _predict(answer, resolved, architecture, facts, device, dataset_bytes=request.dataset.size_bytes)
    if not answer.fits:
        answer.violations.append(_does_not_fit(answer, resolved, device))
        reason = reason or errors_pb2.ERROR_REASON_DOES_NOT_FIT
    return Response(estimate=answer, reason=reason)


def planned_steps(resolved: training_pb2.TrainingSpec, facts: DataFacts | None) -> int:
    """Optimizer steps; 0 while they depend on data that is not known yet."""
    hyper = resolved.hyperparameters
    if hyper.HasField("max_steps"):
        return hyper.max_steps
    if facts is None:
        return 0
    return hyper.epochs * -(-facts.train_samples // _effective_batch_size(resolved))


def given_fields(message: Message, prefix: str = "") -> Iterator[str]:
    """The paths of the fields that are set, such as "hyperparameters.epochs"."""
    for descriptor, value in message.ListFields():
        path = f"{prefix}{descriptor.name}"
        if isinstance(value, Message):
            yield from given_fields(value, f"{path}.")
        else:
            yield path


def _effective_batch_size(resolved: training_pb2.TrainingSpec) -> int:
    return resolved.hyperparameters.batch_size * resolved.hyperparameters.gradient_accumulation_steps


def _refused(reason: "errors_pb2.ErrorReason.ValueType", violation: Violation) -> Response:
    return Response(estimate=job_pb2.Estimate(violations=[violation]), reason=reason)


def _largest_device(
    resolved: training_pb2.TrainingSpec, devices: Sequence[system_pb2.Device]
) -> system_pb2.Device:
    """The device whose memory decides; the processor, of unknown memory, where none is named."""
    offered = [device for device in devices if device.id == "cpu" or not resolved.resources.force_cpu]
    return max(offered, key=lambda device: device.memory_total_bytes, default=system_pb2.Device(id="cpu"))


def _workload(
    resolved: training_pb2.TrainingSpec, architecture: Architecture, classes: int, *, on_cpu: bool
) -> Workload:
    hyper, task = resolved.hyperparameters, resolved.image_classifier
    # Whether the processor is faster with bf16 is measured by the run: the estimate takes the larger need.
    automatic = hyper.precision == training_pb2.PRECISION_AUTO and not on_cpu
    return Workload(
        architecture=architecture,
        classes=classes,
        image_size=task.image_size,
        batch_size=hyper.batch_size,
        adamw=hyper.optimizer != training_pb2.OPTIMIZER_SGD,
        half_precision=automatic
        or hyper.precision in (training_pb2.PRECISION_BF16, training_pb2.PRECISION_FP16),
        frozen_backbone=task.freeze_backbone,
        gradient_checkpointing=task.gradient_checkpointing,
        average=task.ema_decay > 0,
    )


def _memory(workload: Workload, *, on_cpu: bool) -> job_pb2.MemoryUse:
    return job_pb2.MemoryUse(
        device_bytes=0 if on_cpu else workload.device_bytes(), host_bytes=workload.host_bytes(on_cpu=on_cpu)
    )


def _predict(
    answer: job_pb2.Estimate,
    resolved: training_pb2.TrainingSpec,
    architecture: Architecture,
    facts: DataFacts | None,
    device: system_pb2.Device,
    *,
    dataset_bytes: int,
) -> None:
    """Fills in memory, disk, whether it fits, and what would fit."""
    on_cpu = device.id == "cpu"
    classes = len(facts.classes) if facts else _ASSUMED_CLASSES
    workload = _workload(resolved, architecture, classes, on_cpu=on_cpu)
    limit = round(device.memory_total_bytes * _USABLE_SHARE)
    answer.memory.CopyFrom(_memory(workload, on_cpu=on_cpu))
    pixels = (answer.train_samples + answer.validation_samples) * (workload.image_size * 8 // 7) ** 2 * 3
    kept = resolved.checkpoints.keep_last + resolved.checkpoints.keep_best + 1
    answer.disk_bytes = 2 * dataset_bytes + pixels + kept * workload.checkpoint_bytes()
    answer.artifact_bytes = 4 * workload.parameters + _REPORT_BYTES
    answer.fits = not limit or _need(workload, on_cpu=on_cpu) <= limit
    if limit:
        answer.largest_batch_size = workload.largest_batch_size(limit, on_cpu=on_cpu)
        if not answer.fits:
            answer.alternatives.extend(_alternatives(workload, resolved, limit, on_cpu=on_cpu))


def _need(workload: Workload, *, on_cpu: bool) -> int:
    return workload.host_bytes(on_cpu=True) if on_cpu else workload.device_bytes()


def _alternatives(
    workload: Workload, resolved: training_pb2.TrainingSpec, limit: int, *, on_cpu: bool
) -> Iterator[job_pb2.Alternative]:
    """Single changes that would fit, in the order in which the guide tells to try them."""
    effective = _effective_batch_size(resolved)
    largest = workload.largest_batch_size(limit, on_cpu=on_cpu)
    batch = next((size for size in range(min(largest, effective), 0, -1) if effective % size == 0), 0)
    offers: list[tuple[str, dict[str, object], Workload]] = []
    if batch:
        changes = {
            "hyperparameters.batch_size": batch,
            "hyperparameters.gradient_accumulation_steps": effective // batch,
        }
        text = f"batch {batch} x accumulation {effective // batch}"
        offers.append((text, dict(changes), replace(workload, batch_size=batch)))
    if workload.architecture.can_checkpoint and not workload.gradient_checkpointing:
        offers.append(
            (
                "gradient checkpointing",
                {"image_classifier.gradient_checkpointing": True},
                replace(workload, gradient_checkpointing=True),
            )
        )
    smaller = workload.image_size // 2
    if smaller >= workload.architecture.minimum_size and smaller % workload.architecture.size_multiple == 0:
        offers.append(
            (
                f"images of {smaller} px",
                {"image_classifier.image_size": smaller},
                replace(workload, image_size=smaller),
            )
        )
    model = architectures()["resnet18"]
    if model.activation_bytes < workload.architecture.activation_bytes:
        offers.append(("resnet18", {"base_model": model.name}, replace(workload, architecture=model)))
    for description, values, changed in offers:
        if _need(changed, on_cpu=on_cpu) <= limit:
            yield job_pb2.Alternative(
                description=description,
                changes={path: json.dumps(value) for path, value in values.items()},
                memory=_memory(changed, on_cpu=on_cpu),
            )


def _does_not_fit(
    answer: job_pb2.Estimate, resolved: training_pb2.TrainingSpec, device: system_pb2.Device
) -> Violation:
    need = answer.memory.host_bytes if device.id == "cpu" else answer.memory.device_bytes
    return Violation(
        field="spec.hyperparameters.batch_size",
        description=(
            f"A batch of {resolved.hyperparameters.batch_size} needs about {need / 2**30:.1f} GiB, and"
            f" {device.id} has {device.memory_total_bytes / 2**30:.1f} GiB; at most"
            f" {answer.largest_batch_size} would fit."
        ),
    )
