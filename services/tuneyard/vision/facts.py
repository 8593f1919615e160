"""What the estimate knows of a dataset before it is unpacked: the sizes of its splits. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from tuneyard.v1 import dataset_pb2, trainer_service_pb2, training_pb2


@dataclass(frozen=True)
class DataFacts:
    """Samples after the split and the subset."""

    classes: tuple[str, ...]
    train_samples: int
    validation_samples: int
    brings_validation: bool
    smallest_class: tuple[str, int]
    """The class with the fewest samples to train or split, and how many."""
    median_side: int
    """The shorter of the images' median sides in px; 0 if unknown."""


def data_facts(
    spec: training_pb2.TrainingSpec, dataset: trainer_service_pb2.DatasetSource
) -> DataFacts | None:
    """The facts, or None while the dataset is not validated."""
    report = dataset.report
    splits = {facts.split: facts for facts in report.splits}
    if "train" not in splits:
        return None
    per_class = dict(splits["train"].samples_per_class)
    brings_validation = "val" in splits and splits["val"].samples > 0
    train = splits["train"].samples
    if spec.data_split.validation_dataset:
        validation = 0
    elif brings_validation:
        validation = splits["val"].samples
    else:
        share = spec.data_split.validation_fraction
        several_classes = dataset.format == dataset_pb2.DATASET_FORMAT_YOLO
        validation = _share(train, share) if several_classes else _held_out(per_class, share)
        train -= validation
    if spec.data_split.HasField("max_train_samples"):
        train = min(train, spec.data_split.max_train_samples)
    smallest = min(per_class.items(), key=lambda item: item[1], default=("", 0))
    side = min(report.median_width, report.median_height)
    return DataFacts(tuple(report.classes), train, validation, brings_validation, smallest, side)


def _share(samples: int, fraction: float) -> int:
    """About what is held out where an image has several classes, which fit no quota exactly."""
    return min(max(round(fraction * samples), 1), samples - 1) if samples > 1 else 0


def _held_out(per_class: Mapping[str, int], fraction: float) -> int:
    """As `datasets.stratified_split` holds out, where no image is there twice."""
    return sum(min(max(round(fraction * count), 1), count - 1) for count in per_class.values() if count > 1)
