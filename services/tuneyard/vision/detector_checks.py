"""What is wrong with a detector's spec, and what is only unusual. Imports no torch, changes nothing.

The ranges of single fields stand in the protos and are checked at the gateway; here is what needs the
architecture, the data, or several fields at once.
"""

import difflib
from collections.abc import Iterator, Sequence

from tuneyard.trainer.estimates import Violation, violation
from tuneyard.trainer.spec_checks import impossible_on_devices, unknown_metric, wrong_dataset_format
from tuneyard.v1 import dataset_pb2, system_pb2, training_pb2
from tuneyard.vision.architectures import architectures
from tuneyard.vision.detector_architectures import DETECTOR_ARCHITECTURES
from tuneyard.vision.detector_recommended import METRICS
from tuneyard.vision.facts import DataFacts

_STRIDE = 32
_MAX_TOLD = 20
"""Class weights whose faults are told one by one."""


def unknown_detector(base_model: str) -> Violation:
    """What to answer where the base model is no detector that can be trained."""
    close = difflib.get_close_matches(base_model.lower(), DETECTOR_ARCHITECTURES, n=3, cutoff=0.5)
    meant = f" Did you mean {', '.join(close)}?" if close else ""
    if base_model in architectures():
        meant = " It is an image classifier: train it as one (`tuneyard train image-classifier`)."
    return violation(
        "base_model",
        f"There is no detector {base_model!r}.{meant} `tuneyard models list` lists all of them.",
    )


def wrong_format(format: "dataset_pb2.DatasetFormat.ValueType") -> Violation | None:
    """A violation if the dataset's layout is another family's."""
    wanted = dataset_pb2.DATASET_FORMAT_YOLO
    return wrong_dataset_format(format, wanted=wanted, trained="An object detector")


def violations(
    given: training_pb2.TrainingSpec,
    resolved: training_pb2.TrainingSpec,
    facts: DataFacts | None,
    devices: Sequence[system_pb2.Device],
) -> list[Violation]:
    """Everything for which the job would be refused."""
    return [
        *_contradictions(given, resolved),
        *_impossible_for_task(given, resolved),
        *impossible_on_devices(resolved, devices, trained="an object detector"),
        *(_impossible_with_data(resolved, facts) if facts else ()),
    ]


def _contradictions(
    given: training_pb2.TrainingSpec, resolved: training_pb2.TrainingSpec
) -> Iterator[Violation]:
    hyper = given.hyperparameters
    if hyper.HasField("epochs") and hyper.HasField("max_steps"):
        yield violation("hyperparameters.max_steps", "Set epochs or max_steps, not both.")
    if hyper.HasField("warmup_steps") and hyper.HasField("warmup_ratio"):
        yield violation("hyperparameters.warmup_ratio", "Set warmup_steps or warmup_ratio, not both.")
    optimizer = resolved.hyperparameters.optimizer
    if optimizer not in (training_pb2.OPTIMIZER_ADAMW, training_pb2.OPTIMIZER_SGD):
        yield violation(
            "hyperparameters.optimizer", "Object detectors are trained with OPTIMIZER_ADAMW or OPTIMIZER_SGD."
        )
    elif hyper.HasField("momentum") and optimizer != training_pb2.OPTIMIZER_SGD:
        yield violation("hyperparameters.momentum", "Only OPTIMIZER_SGD has a momentum.")
    yield from unknown_metric(resolved, METRICS)


def _impossible_for_task(
    given: training_pb2.TrainingSpec, resolved: training_pb2.TrainingSpec
) -> Iterator[Violation]:
    task = resolved.object_detector
    if task.image_size % _STRIDE:
        near = max(_STRIDE, round(task.image_size / _STRIDE) * _STRIDE)
        yield violation(
            "object_detector.image_size",
            f"The input must be a multiple of {_STRIDE} px, not {task.image_size}; {near} would do.",
        )
    if resolved.base_model_revision:
        yield violation(
            "base_model_revision", "Weights of detectors have no revisions: leave it out, or import a file."
        )
    if task.augmentation.copy_paste > 0:
        yield violation(
            "object_detector.augmentation.copy_paste",
            "Copy-paste cuts objects out along their outlines, and boxes have none: leave it at 0.",
        )
    if task.rectangular and given.object_detector.augmentation.mosaic > 0:
        yield violation(
            "object_detector.augmentation.mosaic",
            "Mosaics are square: set mosaic to 0, or rectangular to false.",
        )
    if task.rectangular and given.object_detector.augmentation.mixup > 0:
        yield violation(
            "object_detector.augmentation.mixup",
            "Mixed images must be of one shape: set mixup to 0, or rectangular to false.",
        )


def _impossible_with_data(resolved: training_pb2.TrainingSpec, facts: DataFacts) -> Iterator[Violation]:
    if facts.train_samples < 1:
        yield violation("dataset", "The dataset has no training images.")
    elif resolved.hyperparameters.batch_size > facts.train_samples:
        yield violation(
            "hyperparameters.batch_size",
            f"A batch of {resolved.hyperparameters.batch_size} is larger than the {facts.train_samples}"
            " training images.",
        )
    faults = list(_faulty_weights(resolved, facts))
    yield from faults[:_MAX_TOLD]
    if len(faults) > _MAX_TOLD:
        yield violation(
            "object_detector.class_weights", f"{len(faults) - _MAX_TOLD} more weights are faulty."
        )


def _faulty_weights(resolved: training_pb2.TrainingSpec, facts: DataFacts) -> Iterator[Violation]:
    field = "object_detector.class_weights"
    for name, weight in sorted(resolved.object_detector.class_weights.items()):
        if name not in facts.classes:
            close = difflib.get_close_matches(name, facts.classes, n=1)
            meant = f" Did you mean {close[0]!r}?" if close else ""
            yield violation(field, f"The dataset has no class {name!r}.{meant}")
        elif weight <= 0:
            yield violation(field, f"The weight of {name!r} must be above 0, not {weight:g}.")


def warnings(
    given: training_pb2.TrainingSpec, resolved: training_pb2.TrainingSpec, facts: DataFacts | None
) -> list[Violation]:
    """What is unusual but allowed."""
    return [
        *_unusual_numbers(given),
        *_unusual_combinations(resolved),
        *(_unusual_for_data(given, resolved, facts) if facts else ()),
    ]


def _unusual_numbers(given: training_pb2.TrainingSpec) -> Iterator[Violation]:
    hyper = given.hyperparameters
    if hyper.HasField("epochs") and not 50 <= hyper.epochs <= 100:
        yield violation("hyperparameters.epochs", f"{hyper.epochs}; 50 to 100 are usual.")
    if hyper.HasField("batch_size") and not 8 <= hyper.batch_size <= 64:
        yield violation("hyperparameters.batch_size", f"{hyper.batch_size}; 8 to 64 are usual.")
    adamw = hyper.optimizer != training_pb2.OPTIMIZER_SGD
    if hyper.HasField("learning_rate") and adamw and not 1e-4 <= hyper.learning_rate <= 5e-3:
        yield violation("hyperparameters.learning_rate", f"{hyper.learning_rate:g}; 1e-4 to 5e-3 is usual.")


def _unusual_combinations(resolved: training_pb2.TrainingSpec) -> Iterator[Violation]:
    task, hyper = resolved.object_detector, resolved.hyperparameters
    if task.freeze_layers and not task.pretrained:
        yield violation("object_detector.freeze_layers", "Layers with random weights are not worth keeping.")
    if hyper.batch_size < 4:
        yield violation(
            "hyperparameters.batch_size",
            f"Detectors have batch norm, whose statistics of {hyper.batch_size} images are poor.",
        )
    if hyper.HasField("max_steps") and hyper.warmup_steps > hyper.max_steps:
        yield violation(
            "hyperparameters.warmup_steps",
            f"All {hyper.max_steps} steps are warm-up: the learning rate never falls.",
        )


def _unusual_for_data(
    given: training_pb2.TrainingSpec, resolved: training_pb2.TrainingSpec, facts: DataFacts
) -> Iterator[Violation]:
    if given.data_split.HasField("validation_fraction") and facts.brings_validation:
        yield violation(
            "data_split.validation_fraction", "The dataset brings its own validation split, which is used."
        )
    size = resolved.object_detector.image_size
    if 0 < facts.median_side * 2 <= size:
        yield violation(
            "object_detector.image_size",
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
