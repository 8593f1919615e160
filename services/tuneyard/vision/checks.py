"""What is wrong with a classifier's spec, and what is only unusual. Imports no torch, changes nothing.

The ranges of single fields stand in the protos and are checked at the gateway; here is what needs the
architecture, the data, or several fields at once.
"""

import difflib
from collections.abc import Iterator, Sequence

from tuneyard.trainer.estimates import Violation, violation
from tuneyard.trainer.spec_checks import (
    impossible_on_devices,
    is_hub_id,
    wrong_dataset_format,
)
from tuneyard.v1 import dataset_pb2, errors_pb2, system_pb2, training_pb2
from tuneyard.vision.architectures import Architecture, architectures
from tuneyard.vision.detector_architectures import DETECTOR_ARCHITECTURES
from tuneyard.vision.facts import DataFacts
from tuneyard.vision.image_checks import contradictions, faulty_weights, only_warm_up, unusual_for_data
from tuneyard.vision.recommended import METRICS, TOP5_METRIC

ALIASES = {
    "google/vit-base-patch16-224": "vit_b_16",
    "google/vit-base-patch32-224-in21k": "vit_b_32",
    "google/vit-large-patch16-224": "vit_l_16",
    "microsoft/resnet-18": "resnet18",
    "microsoft/resnet-50": "resnet50",
    "facebook/convnext-tiny-224": "convnext_tiny",
    "microsoft/swin-tiny-patch4-window7-224": "swin_t",
}
"""Hub ids that people know, and torchvision's architecture of the same kind."""


def unknown_model(base_model: str) -> tuple["errors_pb2.ErrorReason.ValueType", Violation]:
    """What to answer where the base model is no architecture: the reason, and what to use instead."""
    if is_hub_id(base_model) and not base_model.startswith("models/"):
        similar = ALIASES.get(base_model)
        instead = f" torchvision's {similar} is of the same kind and needs no import." if similar else ""
        return errors_pb2.ERROR_REASON_BASE_MODEL_UNAVAILABLE, violation(
            "base_model",
            f"{base_model!r} is a hub model, and the store has none from there. Import it with"
            f" `tuneyard models import {base_model}`, or, without a network, import a folder with its files."
            f"{instead}",
        )
    close = difflib.get_close_matches(base_model.lower().replace("-", ""), architectures(), n=3, cutoff=0.5)
    meant = f" Did you mean {', '.join(close)}?" if close else ""
    if base_model in DETECTOR_ARCHITECTURES:
        meant = " It is an object detector: train it as one (`tuneyard train object-detector`)."
    return errors_pb2.ERROR_REASON_UNKNOWN_BASE_MODEL, violation(
        "base_model",
        f"torchvision has no classification architecture {base_model!r}.{meant}"
        " `tuneyard models list` lists all of them.",
    )


def violations(
    given: training_pb2.TrainingSpec,
    resolved: training_pb2.TrainingSpec,
    architecture: Architecture,
    facts: DataFacts | None,
    devices: Sequence[system_pb2.Device],
) -> list[Violation]:
    """Everything for which the job would be refused."""
    return [
        *contradictions(given, resolved, trained="Image classifiers", metrics=METRICS),
        *_impossible_for_architecture(resolved, architecture),
        *impossible_on_devices(resolved, devices, trained="an image classifier"),
        *(_impossible_with_data(resolved, facts) if facts else ()),
        *(_pointless_metric(resolved, facts) if facts else ()),
    ]


def _pointless_metric(resolved: training_pb2.TrainingSpec, facts: DataFacts) -> Iterator[Violation]:
    metric, classes = resolved.early_stopping.metric, len(facts.classes)
    if metric == TOP5_METRIC and 0 < classes <= 5:
        yield violation(
            "early_stopping.metric",
            f"With {classes} classes {metric} is always 1 and is not measured: use one of"
            f" {', '.join(name for name in METRICS if name != metric)}.",
        )


def _impossible_for_architecture(
    resolved: training_pb2.TrainingSpec, architecture: Architecture
) -> Iterator[Violation]:
    task, size = resolved.image_classifier, resolved.image_classifier.image_size
    if size < architecture.minimum_size or size % architecture.size_multiple:
        step = architecture.size_multiple
        wanted = f"a multiple of {step} px" if step > 1 else f"at least {architecture.minimum_size} px"
        near = max(architecture.minimum_size, round(size / step) * step)
        yield violation(
            "image_classifier.image_size",
            f"{architecture.name} needs {wanted}, not {size} px; {near} would do.",
        )
    if task.gradient_checkpointing and not architecture.can_checkpoint:
        yield violation(
            "image_classifier.gradient_checkpointing",
            f"{architecture.name} does not consist of blocks that could be computed again: leave it off.",
        )
    if resolved.base_model_revision and resolved.base_model_revision != architecture.weights:
        yield violation(
            "base_model_revision",
            f"The weights of {architecture.name} are {architecture.weights}, and no others are offered.",
        )


def _impossible_with_data(resolved: training_pb2.TrainingSpec, facts: DataFacts) -> Iterator[Violation]:
    if len(facts.classes) < 2:
        yield violation("dataset", "The dataset has one class only: there is nothing to tell apart.")
    name, count = facts.smallest_class
    splits_itself = not facts.brings_validation and not resolved.data_split.validation_dataset
    if splits_itself and count < 2:
        yield violation(
            "dataset",
            f"Class {name!r} has {count} image, too few to hold one out for validation: add images, or a val/"
            " folder.",
        )
    elif count < 1:
        yield violation("dataset", f"Class {name!r} has no training image.")
    batch_size = resolved.hyperparameters.batch_size
    if batch_size > facts.train_samples:
        yield violation(
            "hyperparameters.batch_size",
            f"A batch of {batch_size} is larger than the {facts.train_samples} training images.",
        )
    if (
        resolved.data_split.HasField("max_train_samples")
        and len(facts.classes) > resolved.data_split.max_train_samples
    ):
        yield violation(
            "data_split.max_train_samples",
            f"{resolved.data_split.max_train_samples} images cannot hold one of each of the"
            f" {len(facts.classes)} classes.",
        )
    yield from faulty_weights(resolved, facts.classes)


def wrong_format(format: "dataset_pb2.DatasetFormat.ValueType") -> Violation | None:
    """A violation if the dataset's layout is another family's."""
    wanted = dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER
    return wrong_dataset_format(format, wanted=wanted, trained="An image classifier")


def warnings(
    given: training_pb2.TrainingSpec,
    resolved: training_pb2.TrainingSpec,
    architecture: Architecture,
    facts: DataFacts | None,
) -> list[Violation]:
    """What is unusual but allowed."""
    return [
        *_unusual_numbers(given),
        *_unusual_combinations(resolved, architecture),
        *(unusual_for_data(given, resolved, facts) if facts else ()),
    ]


def _unusual_numbers(given: training_pb2.TrainingSpec) -> Iterator[Violation]:
    hyper = given.hyperparameters
    if hyper.HasField("epochs") and not 10 <= hyper.epochs <= 20:
        yield violation("hyperparameters.epochs", f"{hyper.epochs}; 10 to 20 are usual.")
    if hyper.HasField("batch_size") and not 8 <= hyper.batch_size <= 32:
        yield violation("hyperparameters.batch_size", f"{hyper.batch_size}; 8 to 32 are usual.")
    usual_rate = hyper.optimizer != training_pb2.OPTIMIZER_SGD
    if hyper.HasField("learning_rate") and usual_rate and not 1e-4 <= hyper.learning_rate <= 1e-3:
        yield violation("hyperparameters.learning_rate", f"{hyper.learning_rate:g}; 1e-4 to 1e-3 is usual.")


def _unusual_combinations(
    resolved: training_pb2.TrainingSpec, architecture: Architecture
) -> Iterator[Violation]:
    task, hyper = resolved.image_classifier, resolved.hyperparameters
    if task.freeze_backbone and not task.pretrained:
        yield violation(
            "image_classifier.freeze_backbone", "With random weights a frozen backbone recognises nothing."
        )
    if architecture.has_batch_norm and hyper.batch_size < 4 and not task.freeze_backbone:
        yield violation(
            "hyperparameters.batch_size",
            f"{architecture.name} has batch norm, whose statistics of {hyper.batch_size} images are poor.",
        )
    yield from only_warm_up(resolved)
