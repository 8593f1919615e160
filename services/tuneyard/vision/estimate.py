"""What the trainer answers before a job: the resolved spec, what is wrong with it, and what it would need.

Imports no torch. What is peculiar to a task stands in its plan, how memory is predicted in `memory`, and how
time is in `timing`.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from google.protobuf.message import Message

from tuneyard.v1 import errors_pb2, job_pb2, system_pb2, trainer_service_pb2, training_pb2
from tuneyard.vision import classifier_plan, derived, detector_plan, timing
from tuneyard.vision.memory import Workload
from tuneyard.vision.plan import Offer, Plan, Refused
from tuneyard.vision.weight_places import WeightPlaces

_USABLE_SHARE = 0.9
"""Of a device's memory: fragmentation and other programs take the rest."""
_REPORT_BYTES = 2 << 20
_MAX_VIOLATIONS = 50
"""More of them tell nothing new, and must fit into an answer's trailers."""
_PLANS = {"image_classifier": classifier_plan.plan, "object_detector": detector_plan.plan}

Request = trainer_service_pb2.TrainerServiceEstimateRequest
Response = trainer_service_pb2.TrainerServiceEstimateResponse


def estimate(
    request: Request,
    devices: Sequence[system_pb2.Device],
    *,
    places: WeightPlaces | None = None,
    speeds: Path | None = None,
) -> Response:
    """Resolves a spec and predicts what it needs on the largest of the devices.

    `places` tells whether pretrained weights can be had; without it that is not judged. `speeds` is the file
    of what earlier runs took on this machine.
    """
    if request.spec.WhichOneof("kind") != "training":
        return derived.estimate(request)
    given = request.spec.training
    try:
        plan = plan_for(request, devices)
    except Refused as refused:
        return _refused(refused.reason, refused.violation)
    answer = _answer(given, plan)
    reason = errors_pb2.ERROR_REASON_INVALID_FIELD if plan.violations else errors_pb2.ERROR_REASON_UNSPECIFIED
    if not request.model.files and places and (missing := places.missing(plan.resolved)):
        answer.violations.append(missing)
        reason = reason or errors_pb2.ERROR_REASON_BASE_MODEL_UNAVAILABLE
    device = _largest_device(plan.resolved, devices)
    work = at_precision(plan, on_cpu=device.id == "cpu")
    _predict(answer, plan, work, device, dataset_bytes=request.dataset.size_bytes)
    _predict_time(answer, plan, work, device, speeds)
    if not answer.fits:
        answer.violations.append(_does_not_fit(answer, plan.resolved, device))
        reason = reason or errors_pb2.ERROR_REASON_DOES_NOT_FIT
    return Response(estimate=answer, reason=reason)


def plan_for(request: Request, devices: Sequence[system_pb2.Device]) -> Plan:
    """The plan of a training job of whichever task; raises Refused where nothing can be planned."""
    task = request.spec.training.WhichOneof("task") or ""
    if task not in _PLANS:
        raise Refused(
            errors_pb2.ERROR_REASON_NOT_SUPPORTED,
            errors_pb2.FieldViolation(
                field="spec.task", description="This trainer trains image classifiers and object detectors."
            ),
        )
    return _PLANS[task](request, devices)


def given_fields(message: Message, prefix: str = "") -> Iterator[str]:
    """The paths of the fields that are set, such as "hyperparameters.epochs"."""
    for descriptor, value in message.ListFields():
        path = f"{prefix}{descriptor.name}"
        if isinstance(value, Message):
            yield from given_fields(value, f"{path}.")
        else:
            yield path


def _refused(reason: "errors_pb2.ErrorReason.ValueType", violation: errors_pb2.FieldViolation) -> Response:
    return Response(estimate=job_pb2.Estimate(violations=[violation]), reason=reason)


def _answer(given: training_pb2.TrainingSpec, plan: Plan) -> job_pb2.Estimate:
    found = list(plan.violations)
    if len(found) > _MAX_VIOLATIONS:
        more = f"and {len(found) - _MAX_VIOLATIONS} more like these"
        found = [*found[:_MAX_VIOLATIONS], errors_pb2.FieldViolation(field="spec", description=more)]
    return job_pb2.Estimate(
        resolved_spec=job_pb2.JobSpec(training=plan.resolved),
        given_fields=list(given_fields(given)),
        violations=found,
        warnings=plan.warnings[:_MAX_VIOLATIONS],
        total_steps=plan.total_steps,
        effective_batch_size=plan.effective_batch_size,
        train_samples=plan.facts.train_samples if plan.facts else 0,
        validation_samples=plan.facts.validation_samples if plan.facts else 0,
    )


def _largest_device(
    resolved: training_pb2.TrainingSpec, devices: Sequence[system_pb2.Device]
) -> system_pb2.Device:
    """The device whose memory decides; the processor, of unknown memory, where none is named."""
    offered = [device for device in devices if device.id == "cpu" or not resolved.resources.force_cpu]
    return max(offered, key=lambda device: device.memory_total_bytes, default=system_pb2.Device(id="cpu"))


def at_precision(plan: Plan, *, on_cpu: bool) -> Workload:
    """The plan's workload with the arithmetic of the device."""
    precision = plan.resolved.hyperparameters.precision
    # Whether the processor is faster with bf16 is measured by the run: the estimate takes the larger need.
    automatic = precision == training_pb2.PRECISION_AUTO and not on_cpu
    half = automatic or precision in (training_pb2.PRECISION_BF16, training_pb2.PRECISION_FP16)
    return replace(plan.workload, half_precision=half)


def _memory(work: Workload, *, on_cpu: bool) -> job_pb2.MemoryUse:
    return job_pb2.MemoryUse(
        device_bytes=0 if on_cpu else work.device_bytes(), host_bytes=work.host_bytes(on_cpu=on_cpu)
    )


def _predict(
    answer: job_pb2.Estimate, plan: Plan, work: Workload, device: system_pb2.Device, *, dataset_bytes: int
) -> None:
    """Fills in memory, disk, whether it fits, and what would fit."""
    on_cpu = device.id == "cpu"
    limit = round(device.memory_total_bytes * _USABLE_SHARE)
    answer.memory.CopyFrom(_memory(work, on_cpu=on_cpu))
    pixels = (answer.train_samples + answer.validation_samples) * plan.stored_pixels * 3
    kept = plan.resolved.checkpoints.keep_last + plan.resolved.checkpoints.keep_best + 1
    answer.disk_bytes = 2 * dataset_bytes + pixels + kept * work.checkpoint_bytes()
    answer.artifact_bytes = 4 * work.parameters + _REPORT_BYTES
    answer.fits = not limit or work.need(on_cpu=on_cpu) <= limit
    if limit:
        largest = work.largest_batch_size(limit, on_cpu=on_cpu)
        # No batch is larger than the data.
        answer.largest_batch_size = min(largest, answer.train_samples or largest)
        if not answer.fits:
            answer.alternatives.extend(_alternatives(plan, work, limit, on_cpu=on_cpu))


def _predict_time(
    answer: job_pb2.Estimate, plan: Plan, work: Workload, device: system_pb2.Device, speeds: Path | None
) -> None:
    seconds = timing.seconds(plan, work, device, timing.read(speeds) if speeds else {})
    if seconds is not None:
        answer.duration.FromTimedelta(timedelta(seconds=round(seconds)))


def _alternatives(plan: Plan, work: Workload, limit: int, *, on_cpu: bool) -> Iterator[job_pb2.Alternative]:
    """Single changes that would fit, in the order in which the guide tells to try them."""
    effective = plan.effective_batch_size
    largest = work.largest_batch_size(limit, on_cpu=on_cpu)
    batch = next((size for size in range(min(largest, effective), 0, -1) if effective % size == 0), 0)
    offers: list[Offer] = []
    if batch:
        changes = {
            "hyperparameters.batch_size": batch,
            "hyperparameters.gradient_accumulation_steps": effective // batch,
        }
        text = f"batch {batch} x accumulation {effective // batch}"
        offers.append(Offer(text, dict(changes), replace(work, batch_size=batch)))
    offers += plan.offers(work)
    for offer in offers:
        if offer.workload.need(on_cpu=on_cpu) <= limit:
            yield job_pb2.Alternative(
                description=offer.description,
                changes={path: json.dumps(value) for path, value in offer.changes.items()},
                memory=_memory(offer.workload, on_cpu=on_cpu),
            )


def _does_not_fit(
    answer: job_pb2.Estimate, resolved: training_pb2.TrainingSpec, device: system_pb2.Device
) -> errors_pb2.FieldViolation:
    need = answer.memory.host_bytes if device.id == "cpu" else answer.memory.device_bytes
    return errors_pb2.FieldViolation(
        field="spec.hyperparameters.batch_size",
        description=(
            f"A batch of {resolved.hyperparameters.batch_size} needs about {need / 2**30:.1f} GiB, and"
            f" {device.id} has {device.memory_total_bytes / 2**30:.1f} GiB; at most"
            f" {answer.largest_batch_size} would fit."
        ),
    )
