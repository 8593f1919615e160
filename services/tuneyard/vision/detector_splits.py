"""Which images a detector trains on and which validate it. Paths and boxes only: no pixels, no torch.

The test split is not looked at here, so that nothing in training can come to depend on it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuneyard.datasets import stratified_subset, yolo
from tuneyard.datasets.yolo import Box, YoloIndex, YoloSample
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.run import DatasetFiles
from tuneyard.vision.detector_config import DetectorConfig
from tuneyard.vision.splits import images_digest


@dataclass(frozen=True)
class DetectionSplit:
    """Images of one dataset with their boxes, numbered by the model's classes."""

    root: Path
    dataset_sha256: str
    samples: tuple[YoloSample, ...]

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def digest(self) -> str:
        """Tells sets of images apart; see `images_digest`."""
        return images_digest(self.dataset_sha256, (sample.path for sample in self.samples))


@dataclass(frozen=True)
class DetectionSplits:
    """Classes in the order of their numbers, and the two splits that training may see."""

    classes: tuple[str, ...]
    train: DetectionSplit
    validation: DetectionSplit


def make_splits(
    files: DatasetFiles, validation_files: DatasetFiles | None, config: DetectorConfig
) -> DetectionSplits:
    """The dataset's own validation split, or the named validation dataset, or a stratified split.

    Copies and near copies of one image stay on one side of a split made here. Raises RecipeError
    DATASET_INVALID.
    """
    index = yolo.index(files.dir, files.report)
    brings_validation = bool(index.splits.get("val"))
    if validation_files is None and not brings_validation:
        index = _divided(index, files, config)
    train = DetectionSplit(index.root, files.sha256, index.splits.get("train", ()))
    if validation_files is None:
        validation = DetectionSplit(index.root, files.sha256, index.splits.get("val", ()))
    else:
        validation = _other_dataset(validation_files, index.classes)
    _require(train, validation)
    if config.max_train_samples is not None:
        train = _subset(train, config)
    return DetectionSplits(index.classes, train, validation)


def _require(train: DetectionSplit, validation: DetectionSplit) -> None:
    empty = "training" if not train.samples else "" if validation.samples else "validation"
    if empty:
        raise RecipeError(
            f"The dataset leaves no {empty} images.",
            reason="DATASET_INVALID",
            remedies=("Add labelled images to the dataset.",),
        )
    if not any(sample.boxes for sample in train.samples):
        raise RecipeError(
            "No training image has a labelled object.",
            reason="DATASET_INVALID",
            remedies=("Add label files beside the images; `tuneyard datasets check` names what is missing.",),
        )


def _divided(index: YoloIndex, files: DatasetFiles, config: DetectorConfig) -> YoloIndex:
    groups = yolo.likeness(index, files.report)
    return yolo.split(index, validation_share=config.validation_fraction, seed=config.seed, groups=groups)


def _subset(train: DetectionSplit, config: DetectorConfig) -> DetectionSplit:
    """At most so many images; each is counted to the rarest class in it, so that rare classes are kept."""
    wanted = config.max_train_samples or len(train)
    boxes = Counter(box.label for sample in train.samples for box in sample.boxes)
    rarest = [
        min((box.label for box in sample.boxes), key=lambda label: (boxes[label], label), default=-1)
        for sample in train.samples
    ]
    if wanted < len(set(rarest)):
        # Too few for one of each: by number alone.
        rarest = [0] * len(rarest)
    kept = stratified_subset(rarest, max_samples=wanted, seed=config.seed)
    return DetectionSplit(
        train.root, train.dataset_sha256, tuple(train.samples[position] for position in kept)
    )


def _other_dataset(files: DatasetFiles, classes: tuple[str, ...]) -> DetectionSplit:
    """A validation dataset's images, of whichever split, numbered by the training classes."""
    index = yolo.index(files.dir, files.report)
    unknown = [name for name in index.classes if name not in classes]
    if unknown:
        raise RecipeError(
            f"The validation dataset has classes that the training dataset lacks: {', '.join(unknown[:5])}.",
            reason="DATASET_INVALID",
            remedies=("Give both datasets the same class names.",),
        )
    samples = index.splits.get("val") or index.splits.get("train", ())
    return DetectionSplit(index.root, files.sha256, renumbered(samples, index.classes, classes))


def renumbered(
    samples: Sequence[YoloSample], names: Sequence[str], classes: Sequence[str]
) -> tuple[YoloSample, ...]:
    """The samples with their classes, numbered by `names`, numbered by `classes`, which has all of them."""
    number = {name: position for position, name in enumerate(classes)}
    table = [number[name] for name in names]
    return tuple(
        YoloSample(
            path=sample.path,
            boxes=tuple(Box(table[box.label], *box[1:]) for box in sample.boxes),
            size=sample.size,
        )
        for sample in samples
    )
