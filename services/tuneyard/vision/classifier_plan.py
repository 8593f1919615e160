"""An image classifier's part of an estimate: its resolved spec, what is wrong with it, and its workload."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tuneyard.trainer.estimates import Offer, Refused
from tuneyard.v1 import errors_pb2, system_pb2, trainer_service_pb2, training_pb2
from tuneyard.vision.architectures import Architecture, architectures
from tuneyard.vision.checks import unknown_model, violations, warnings, wrong_format
from tuneyard.vision.facts import data_facts
from tuneyard.vision.memory import Factors, Workload
from tuneyard.vision.plan import Plan
from tuneyard.vision.recommended import FEW_SAMPLES, resolve

FACTORS = Factors(host_base_bytes=450 << 20, full=1.25, half=0.8)
_CHECKPOINTED, _FROZEN = 0.55, 0.1
"""Kept shares: convolutional nets are largest in their first layers, which are not checkpointed; a frozen
backbone keeps nothing for its backward pass but needs room for its largest layers."""
_ASSUMED_CLASSES = 1000
_SMALLER = "resnet18"


def plan(
    request: trainer_service_pb2.TrainerServiceEstimateRequest, devices: Sequence[system_pb2.Device]
) -> Plan:
    """The plan of a training job; raises Refused where nothing can be planned."""
    given = request.spec.training
    name = request.model.architecture or given.base_model
    architecture = architectures().get(name)
    if architecture is None:
        raise Refused(*unknown_model(name))
    if violation := wrong_format(request.dataset.format):
        raise Refused(errors_pb2.ERROR_REASON_INVALID_FIELD, violation)
    resolved = resolve(given)
    facts = data_facts(resolved, request.dataset)
    if facts and facts.smallest_class[1] < FEW_SAMPLES:
        resolved = resolve(given, few_samples=True)
    return Plan(
        resolved=resolved,
        facts=facts,
        violations=violations(given, resolved, architecture, facts, devices),
        warnings=warnings(given, resolved, architecture, facts),
        workload=workload(resolved, architecture, len(facts.classes) if facts else _ASSUMED_CLASSES),
        multiply_adds=architecture.multiply_adds_at(resolved.image_classifier.image_size),
        stored_pixels=(resolved.image_classifier.image_size * 8 // 7) ** 2,
        offers=lambda work: _offers(work, resolved, architecture),
    )


def workload(resolved: training_pb2.TrainingSpec, architecture: Architecture, classes: int) -> Workload:
    """What a resolved spec trains; its precision is decided where the device is known."""
    hyper, task = resolved.hyperparameters, resolved.image_classifier
    parameters = architecture.parameters_for(classes)
    share = _FROZEN if task.freeze_backbone else _CHECKPOINTED if task.gradient_checkpointing else 1.0
    return Workload(
        factors=FACTORS,
        parameters=parameters,
        trained_parameters=(
            classes * architecture.parameters_per_class if task.freeze_backbone else parameters
        ),
        activation_bytes=architecture.activation_bytes_at(task.image_size),
        kept_share=share,
        batch_size=hyper.batch_size,
        adamw=hyper.optimizer != training_pb2.OPTIMIZER_SGD,
        half_precision=False,
        average=task.ema_decay > 0,
    )


def _offers(
    work: Workload, resolved: training_pb2.TrainingSpec, architecture: Architecture
) -> Iterator[Offer[Workload]]:
    """Changes that need less, beside a smaller batch, in the order in which the guide tells to try them."""
    task = resolved.image_classifier
    if architecture.can_checkpoint and not task.gradient_checkpointing and not task.freeze_backbone:
        changed = replace(work, kept_share=_CHECKPOINTED)
        yield Offer("gradient checkpointing", {"image_classifier.gradient_checkpointing": True}, changed)
    smaller = task.image_size // 2
    if smaller >= architecture.minimum_size and smaller % architecture.size_multiple == 0:
        changed = replace(work, activation_bytes=architecture.activation_bytes_at(smaller))
        yield Offer(f"images of {smaller} px", {"image_classifier.image_size": smaller}, changed)
    other = architectures()[_SMALLER]
    if other.activation_bytes < architecture.activation_bytes:
        parameters = other.parameters
        changed = replace(
            work,
            parameters=parameters,
            trained_parameters=min(work.trained_parameters, parameters),
            activation_bytes=other.activation_bytes_at(task.image_size),
        )
        yield Offer(_SMALLER, {"base_model": _SMALLER}, changed)
