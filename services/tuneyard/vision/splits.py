"""Which images train and which validate. Paths and labels only: no pixels, no torch.

The test split is not read here at all, so that nothing in training can come to depend on it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuneyard.datasets import (
    Code,
    FolderSource,
    content_groups,
    image_folder,
    stratified_split,
    stratified_subset,
)
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.run import DatasetFiles
from tuneyard.vision.config import ClassifierConfig


@dataclass(frozen=True)
class Samples:
    """Images of one dataset and the numbers of their classes."""

    root: Path
    dataset_sha256: str
    paths: tuple[str, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def digest(self) -> str:
        """Tells sets of images apart; see `images_digest`."""
        return images_digest(self.dataset_sha256, self.paths)

    def pick(self, positions: Sequence[int]) -> "Samples":
        """The samples at some positions."""
        return Samples(
            root=self.root,
            dataset_sha256=self.dataset_sha256,
            paths=tuple(self.paths[position] for position in positions),
            labels=tuple(self.labels[position] for position in positions),
        )


def images_digest(dataset_sha256: str, paths: Iterable[str]) -> str:
    """SHA-256 of which images of which dataset these are, in whatever order. The dataset's hash stands for
    what they hold, so that none has to be read.
    """
    lines = "\n".join((dataset_sha256, *sorted(paths)))
    return hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True)
class Splits:
    """Classes in the order of their numbers, and the two splits that training may see."""

    classes: tuple[str, ...]
    train: Samples
    validation: Samples


def make_splits(
    files: DatasetFiles, validation_files: DatasetFiles | None, config: ClassifierConfig
) -> Splits:
    """The dataset's own validation split, or the named validation dataset, or a stratified split.

    Copies and near copies of one image stay on one side of a split made here. Raises RecipeError
    DATASET_INVALID.
    """
    source = FolderSource(files.dir)
    index = image_folder.index(source).without(files.report.excluded)
    train = _samples(source, files, index.of("train"))
    if validation_files is not None:
        validation = _other_dataset(validation_files, index.classes)
    elif index.has_val:
        validation = _samples(source, files, index.of("val"))
    else:
        train, validation = _split(train, _groups(files, index, train), config)
    if len(train) == 0 or len(validation) == 0:
        empty = "training" if len(train) == 0 else "validation"
        raise RecipeError(
            f"The dataset leaves no {empty} images.",
            reason="DATASET_INVALID",
            remedies=("Add images of every class to the dataset.",),
        )
    if config.max_train_samples is not None:
        train = train.pick(_subset(train, config.max_train_samples, config.seed))
    return Splits(index.classes, train, validation)


def _samples(source: FolderSource, files: DatasetFiles, samples: Sequence[image_folder.Sample]) -> Samples:
    return Samples(
        root=source.root,
        dataset_sha256=files.sha256,
        paths=tuple(sample.path for sample in samples),
        labels=tuple(sample.class_index for sample in samples),
    )


def _groups(
    files: DatasetFiles, index: image_folder.ImageFolderIndex, samples: Samples
) -> Sequence[int] | None:
    """What must stay on one side of a split, as the dataset's check found it; None where nothing must."""
    report = files.report
    if len(report.groups) == len(index.samples):
        group_of = {sample.path: group for sample, group in zip(index.samples, report.groups, strict=True)}
        return [group_of[path] for path in samples.paths]
    # Without such a report only equal files are found. Reading every file to find none would cost seconds at
    # each start, where a report says that there are none.
    may_have_copies = not report.splits or any(
        report.counts.get(code) for code in (Code.DUPLICATE_IMAGE, Code.DUPLICATE_IN_CLASSES)
    )
    return content_groups(FolderSource(files.dir), samples.paths) if may_have_copies else None


def _split(
    samples: Samples, groups: Sequence[int] | None, config: ClassifierConfig
) -> tuple[Samples, Samples]:
    train, validation = stratified_split(
        samples.labels, groups, val_fraction=config.validation_fraction, seed=config.seed
    )
    return samples.pick(train), samples.pick(validation)


def _subset(train: Samples, max_samples: int, seed: int) -> list[int]:
    try:
        return stratified_subset(train.labels, max_samples=max_samples, seed=seed)
    except ValueError as error:
        raise RecipeError(
            f"max_train_samples: {error}.",
            reason="INVALID_FIELD",
            remedies=("Raise data_split.max_train_samples to at least the number of classes.",),
        ) from error


def _other_dataset(files: DatasetFiles, classes: tuple[str, ...]) -> Samples:
    """A validation dataset's images, of whichever split, numbered by the training classes."""
    source = FolderSource(files.dir)
    index = image_folder.index(source).without(files.report.excluded)
    unknown = [name for name in index.classes if name not in classes]
    if unknown:
        raise RecipeError(
            f"The validation dataset has classes that the training dataset lacks: {', '.join(unknown[:5])}.",
            reason="DATASET_INVALID",
            remedies=("Give both datasets the same class folders.",),
        )
    samples = index.of("val") or index.of("train")
    number = {name: position for position, name in enumerate(classes)}
    return Samples(
        root=source.root,
        dataset_sha256=files.sha256,
        paths=tuple(sample.path for sample in samples),
        labels=tuple(number[index.classes[sample.class_index]] for sample in samples),
    )
