"""An object detector's part of an estimate: its resolved spec, what is wrong with it, and its workload."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tuneyard.trainer.estimates import Offer, Refused
from tuneyard.v1 import errors_pb2, system_pb2, trainer_service_pb2, training_pb2
from tuneyard.vision.detector_architectures import HAS_DETECTORS, RECOMMENDED, architecture_name
from tuneyard.vision.detector_checks import unknown_detector, violations, warnings, wrong_format
from tuneyard.vision.detector_recommended import resolve
from tuneyard.vision.detector_sizes import DetectorSize, detector_sizes
from tuneyard.vision.facts import data_facts
from tuneyard.vision.memory import Factors, Workload
from tuneyard.vision.plan import Plan

FACTORS = Factors(host_base_bytes=450 << 20, full=1.2, half=0.8)
_STRIDE = 32
_SMALLEST_SIDE = 320
"""Below this, objects in photographs are lost."""


def plan(
    request: trainer_service_pb2.TrainerServiceEstimateRequest, devices: Sequence[system_pb2.Device]
) -> Plan:
    """The plan of a training job; raises Refused where nothing can be planned."""
    given = request.spec.training
    if not HAS_DETECTORS:
        told = "Detectors need ultralytics on the trainer's machine: `pip install 'tuneyard[detector]'`."
        raise Refused(
            errors_pb2.ERROR_REASON_NOT_SUPPORTED,
            errors_pb2.FieldViolation(field="spec.object_detector", description=told),
        )
    name = architecture_name(request.model.architecture or given.base_model)
    if name is None:
        raise Refused(errors_pb2.ERROR_REASON_UNKNOWN_BASE_MODEL, unknown_detector(given.base_model))
    if violation := wrong_format(request.dataset.format):
        raise Refused(errors_pb2.ERROR_REASON_INVALID_FIELD, violation)
    resolved, size = resolve(given), detector_sizes()[name]
    facts = data_facts(resolved, request.dataset)
    side = resolved.object_detector.image_size
    return Plan(
        resolved=resolved,
        facts=facts,
        violations=[*violations(given, resolved, facts, devices), *_too_many_frozen(resolved, size)],
        warnings=warnings(given, resolved, facts),
        workload=workload(resolved, size),
        multiply_adds=size.multiply_adds_at(side),
        stored_pixels=side * side,
        offers=lambda work: _offers(work, resolved, size),
    )


def workload(resolved: training_pb2.TrainingSpec, size: DetectorSize) -> Workload:
    """What a resolved spec trains; its precision is decided where the device is known."""
    hyper, task = resolved.hyperparameters, resolved.object_detector
    trained = 1 - min(task.freeze_layers, size.layers) / size.layers
    return Workload(
        factors=FACTORS,
        parameters=size.parameters,
        # Layers differ in weight; the first ones, which are frozen first, are the lightest.
        trained_parameters=size.parameters if trained else 0,
        activation_bytes=size.activation_bytes_at(task.image_size),
        kept_share=max(0.2, trained),
        batch_size=hyper.batch_size,
        adamw=hyper.optimizer != training_pb2.OPTIMIZER_SGD,
        half_precision=False,
        average=True,
    )


def _too_many_frozen(
    resolved: training_pb2.TrainingSpec, size: DetectorSize
) -> Iterator[errors_pb2.FieldViolation]:
    frozen = resolved.object_detector.freeze_layers
    if frozen >= size.layers:
        yield errors_pb2.FieldViolation(
            field="spec.object_detector.freeze_layers",
            description=(
                f"{size.name} has {size.layers} layers, and the last one has to be trained:"
                f" {size.layers - 1} at most, not {frozen}."
            ),
        )


def _offers(
    work: Workload, resolved: training_pb2.TrainingSpec, size: DetectorSize
) -> Iterator[Offer[Workload]]:
    """Changes that need less, beside a smaller batch."""
    side = resolved.object_detector.image_size
    smaller = side // 2 // _STRIDE * _STRIDE
    if smaller >= _SMALLEST_SIDE:
        changed = replace(work, activation_bytes=size.activation_bytes_at(smaller))
        yield Offer(f"images of {smaller} px", {"object_detector.image_size": smaller}, changed)
    other = detector_sizes()[RECOMMENDED]
    if other.activation_bytes < size.activation_bytes:
        changed = replace(
            work,
            parameters=other.parameters,
            trained_parameters=min(work.trained_parameters, other.parameters),
            activation_bytes=other.activation_bytes_at(side),
        )
        yield Offer(RECOMMENDED, {"base_model": RECOMMENDED}, changed)
