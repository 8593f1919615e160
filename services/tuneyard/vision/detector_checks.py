"""What is wrong with a detector's spec, and what is only unusual. Imports no torch, changes nothing.

The ranges of single fields stand in the protos and are checked at the gateway; here is what needs the
architecture, the data, or several fields at once.
"""

import difflib
from collections.abc import Iterator, Sequence

from tuneyard.trainer.estimates import Violation, violation
from tuneyard.trainer.spec_checks import impossible_on_devices, wrong_dataset_format
from tuneyard.v1 import dataset_pb2, system_pb2, training_pb2
from tuneyard.vision.architectures import architectures
from tuneyard.vision.detector_architectures import DETECTOR_ARCHITECTURES
from tuneyard.vision.detector_recommended import METRICS
from tuneyard.vision.facts import DataFacts
from tuneyard.vision.image_checks import contradictions, faulty_weights, only_warm_up, unusual_for_data

_STRIDE = 32


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
        *contradictions(given, resolved, trained="Object detectors", metrics=METRICS),
        *_impossible_for_task(given, resolved),
        *impossible_on_devices(resolved, devices, trained="an object detector"),
        *(_impossible_with_data(resolved, facts) if facts else ()),
    ]


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
    yield from faulty_weights(resolved, facts.classes)


def warnings(
    given: training_pb2.TrainingSpec, resolved: training_pb2.TrainingSpec, facts: DataFacts | None
) -> list[Violation]:
    """What is unusual but allowed."""
    return [
        *_unusual_numbers(given),
        *_unusual_combinations(resolved),
        *(unusual_for_data(given, resolved, facts) if facts else ()),
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
    yield from only_warm_up(resolved)
