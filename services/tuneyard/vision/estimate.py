"""What the trainer answers before a job: the resolved spec, what is wrong with it, and what it would need.

Imports no torch. What is peculiar to a task stands in its plan, how memory is predicted in `memory`, and how
time is in `timing`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from tuneyard.trainer import speeds as speeds_file
from tuneyard.trainer.estimates import (
    Offer,
    Refused,
    Request,
    Response,
    alternatives,
    given_fields,
    largest_device,
    largest_divisor,
    memory_use,
    refused,
    smaller_batch,
    told,
    violation,
)
from tuneyard.v1 import errors_pb2, job_pb2, system_pb2, training_pb2
from tuneyard.vision import classifier_plan, derived, detector_plan, timing
from tuneyard.vision.memory import Workload
from tuneyard.vision.plan import Plan
from tuneyard.vision.weight_places import WeightPlaces

_USABLE_SHARE = 0.9
"""Of a device's memory: fragmentation and other programs take the rest."""
_REPORT_BYTES = 2 << 20
_PLANS = {"image_classifier": classifier_plan.plan, "object_detector": detector_plan.plan}


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
    except Refused as error:
        return refused(error.reason, error.violation)
    answer = _answer(given, plan)
    reason = errors_pb2.ERROR_REASON_INVALID_FIELD if plan.violations else errors_pb2.ERROR_REASON_UNSPECIFIED
    if not request.model.files and places and (missing := places.missing(plan.resolved)):
        answer.violations.append(missing)
        reason = reason or errors_pb2.ERROR_REASON_BASE_MODEL_UNAVAILABLE
    device = largest_device(plan.resolved, devices)
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
            violation("task", "This trainer trains image classifiers and object detectors."),
        )
    return _PLANS[task](request, devices)


def _answer(given: training_pb2.TrainingSpec, plan: Plan) -> job_pb2.Estimate:
    return job_pb2.Estimate(
        resolved_spec=job_pb2.JobSpec(training=plan.resolved),
        given_fields=list(given_fields(given)),
        violations=told(plan.violations),
        warnings=told(plan.warnings),
        total_steps=plan.total_steps,
        effective_batch_size=plan.effective_batch_size,
        train_samples=plan.facts.train_samples if plan.facts else 0,
        validation_samples=plan.facts.validation_samples if plan.facts else 0,
    )


def at_precision(plan: Plan, *, on_cpu: bool) -> Workload:
    """The plan's workload with the arithmetic of the device."""
    precision = plan.resolved.hyperparameters.precision
    # Whether the processor is faster with bf16 is measured by the run: the estimate takes the larger need.
    automatic = precision == training_pb2.PRECISION_AUTO and not on_cpu
    half = automatic or precision in (training_pb2.PRECISION_BF16, training_pb2.PRECISION_FP16)
    return replace(plan.workload, half_precision=half)


def _predict(
    answer: job_pb2.Estimate, plan: Plan, work: Workload, device: system_pb2.Device, *, dataset_bytes: int
) -> None:
    """Fills in memory, disk, whether it fits, and what would fit."""
    on_cpu = device.id == "cpu"
    limit = round(device.memory_total_bytes * _USABLE_SHARE)
    answer.memory.CopyFrom(memory_use(work, on_cpu=on_cpu))
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
            offers = _offers(plan, work, limit, on_cpu=on_cpu)
            answer.alternatives.extend(alternatives(offers, limit=limit, on_cpu=on_cpu))


def _predict_time(
    answer: job_pb2.Estimate, plan: Plan, work: Workload, device: system_pb2.Device, speeds: Path | None
) -> None:
    seconds = timing.seconds(plan, work, device, speeds_file.read(speeds) if speeds else {})
    if seconds is not None:
        answer.duration.FromTimedelta(timedelta(seconds=round(seconds)))


def _offers(plan: Plan, work: Workload, limit: int, *, on_cpu: bool) -> Iterator[Offer[Workload]]:
    """Single changes that need less, in the order in which the guide tells to try them."""
    largest = work.largest_batch_size(limit, on_cpu=on_cpu)
    if batch := largest_divisor(largest, plan.effective_batch_size):
        text, changes = smaller_batch(batch, plan.effective_batch_size)
        yield Offer(text, changes, replace(work, batch_size=batch))
    yield from plan.offers(work)


def _does_not_fit(
    answer: job_pb2.Estimate, resolved: training_pb2.TrainingSpec, device: system_pb2.Device
) -> errors_pb2.FieldViolation:
    need = answer.memory.host_bytes if device.id == "cpu" else answer.memory.device_bytes
    return violation(
        "hyperparameters.batch_size",
        f"A batch of {resolved.hyperparameters.batch_size} needs about {need / 2**30:.1f} GiB, and"
        f" {device.id} has {device.memory_total_bytes / 2**30:.1f} GiB; at most"
        f" {answer.largest_batch_size} would fit.",
    )
