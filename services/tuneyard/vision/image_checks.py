"""What is wrong or unusual with a training on images, of a classifier as of a detector. Imports no torch."""

import difflib
from collections.abc import Collection, Iterator, Sequence

from tuneyard.trainer.estimates import Violation, violation
from tuneyard.trainer.spec_checks import unknown_metric
from tuneyard.v1 import training_pb2
from tuneyard.vision.facts import DataFacts

_MAX_TOLD = 20
"""Class weights whose faults are told one by one."""


def contradictions(
    given: training_pb2.TrainingSpec,
    resolved: training_pb2.TrainingSpec,
    *,
    trained: str,
    metrics: Collection[str],
) -> Iterator[Violation]:
    """Settings that exclude each other or are not offered; `trained` is as "Image classifiers"."""
    hyper = given.hyperparameters
    if hyper.HasField("epochs") and hyper.HasField("max_steps"):
        yield violation("hyperparameters.max_steps", "Set epochs or max_steps, not both.")
    if hyper.HasField("warmup_steps") and hyper.HasField("warmup_ratio"):
        yield violation("hyperparameters.warmup_ratio", "Set warmup_steps or warmup_ratio, not both.")
    optimizer = resolved.hyperparameters.optimizer
    if optimizer not in (training_pb2.OPTIMIZER_ADAMW, training_pb2.OPTIMIZER_SGD):
        yield violation(
            "hyperparameters.optimizer", f"{trained} are trained with OPTIMIZER_ADAMW or OPTIMIZER_SGD."
        )
    elif hyper.HasField("momentum") and optimizer != training_pb2.OPTIMIZER_SGD:
        yield violation("hyperparameters.momentum", "Only OPTIMIZER_SGD has a momentum.")
    yield from unknown_metric(resolved, metrics)


def faulty_weights(resolved: training_pb2.TrainingSpec, classes: Sequence[str]) -> Iterator[Violation]:
    """Weights of classes that the dataset does not have, and such as are not above 0."""
    task = resolved.WhichOneof("task") or ""
    field, weights, known = f"{task}.class_weights", getattr(resolved, task).class_weights, set(classes)
    faulty = [name for name in sorted(weights) if name not in known or weights[name] <= 0]
    for name in faulty[:_MAX_TOLD]:
        if name in known:
            yield violation(field, f"The weight of {name!r} must be above 0, not {weights[name]:g}.")
            continue
        close = difflib.get_close_matches(name, classes, n=1)
        meant = f" Did you mean {close[0]!r}?" if close else ""
        yield violation(field, f"The dataset has no class {name!r}.{meant}")
    if len(faulty) > _MAX_TOLD:
        yield violation(field, f"{len(faulty) - _MAX_TOLD} more weights are faulty.")


def only_warm_up(resolved: training_pb2.TrainingSpec) -> Iterator[Violation]:
    """A warning where the training ends before its warm-up does."""
    hyper = resolved.hyperparameters
    if hyper.HasField("max_steps") and hyper.warmup_steps > hyper.max_steps:
        yield violation(
            "hyperparameters.warmup_steps",
            f"All {hyper.max_steps} steps are warm-up: the learning rate never falls.",
        )


def unusual_for_data(
    given: training_pb2.TrainingSpec, resolved: training_pb2.TrainingSpec, facts: DataFacts
) -> Iterator[Violation]:
    """Warnings that the dataset and its images give rise to."""
    if given.data_split.HasField("validation_fraction") and facts.brings_validation:
        yield violation(
            "data_split.validation_fraction", "The dataset brings its own validation split, which is used."
        )
    task = resolved.WhichOneof("task") or ""
    size = getattr(resolved, task).image_size
    if 0 < facts.median_side * 2 <= size:
        yield violation(
            f"{task}.image_size",
            f"The images are about {facts.median_side} px wide or high and would be enlarged to {size} px: a"
            " smaller image_size trains faster and may do as well.",
        )
    hyper = resolved.hyperparameters
    effective = hyper.batch_size * hyper.gradient_accumulation_steps
    if hyper.batch_size <= facts.train_samples < effective:
        yield violation(
            "hyperparameters.gradient_accumulation_steps",
            f"An effective batch of {effective} is larger than the {facts.train_samples} training images.",
        )
