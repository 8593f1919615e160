"""Which images an evaluation measures: those of a split, never any that the model was trained on by mistake.

The splits that the training made are made again by the same code, seed and settings. No pixels, no torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuneyard.datasets import Code, FolderSource, image_folder
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.evaluate_config import EvaluateConfig
from tuneyard.trainer.held_out import MOVED_SPLIT, moved_warning, require_unchanged, require_validation
from tuneyard.trainer.run import DatasetFiles, Run
from tuneyard.vision.config import ClassifierConfig
from tuneyard.vision.splits import Samples, make_splits

_NAMED = 5


@dataclass(frozen=True)
class MeasuredSamples:
    """The images of a split, numbered by the model's classes."""

    samples: Samples
    origin: str
    """Where the split comes from, for people."""
    divided: bool = False
    """Whether it is the share of a dataset that the training held out."""


def measured_samples(
    config: EvaluateConfig,
    source: ClassifierConfig,
    *,
    classes: Sequence[str],
    manifest: Mapping[str, Any],
    run: Run,
) -> MeasuredSamples:
    """The split that is asked for. `classes` are the model's, `manifest` is its training's.

    Raises RecipeError DATASET_INVALID.
    """
    files = run.dataset()
    if config.is_own_dataset:
        require_unchanged(files, manifest, name=config.dataset)
        names, samples, origin, divided = _own(config, source, files, run)
    else:
        names, samples, origin = _of_split(files, config.split)
        divided = False
    if not samples.paths:
        raise RecipeError(
            f"The {config.split} split of {config.dataset} has no images.",
            reason="DATASET_INVALID",
            remedies=("Name another split, or a dataset that has one.",),
        )
    return MeasuredSamples(_numbered(samples, names, classes, dataset=config.dataset), origin, divided)


def warned(
    config: EvaluateConfig, manifest: Mapping[str, Any], run: Run, *, digest: str, divided: bool
) -> str:
    """Warns of what makes the numbers look too good, and returns it as one text; `digest` is the split's.

    Raises RecipeError DATASET_INVALID as `moved_warning` does.
    """
    validates = config.is_own_dataset and config.split == "val"
    found = {
        "leaking_splits": leak_warning(run.dataset()),
        MOVED_SPLIT: moved_warning(manifest, digest, divided=divided) if validates else "",
    }
    for code, text in found.items():
        if text:
            run.warn(code, text)
    return " ".join(text for text in found.values() if text)


def leak_warning(files: DatasetFiles) -> str:
    """What to tell of copies of training images in the other splits; "" where none were found."""
    count = files.report.counts.get(Code.DUPLICATE_ACROSS_SPLITS, 0)
    if not count:
        return ""
    return (
        f"The dataset has {count} images that lie in more than one split: what is measured on them says"
        " nothing about new images."
    )


_Found = tuple[tuple[str, ...], Samples, str]


def _own(
    config: EvaluateConfig, source: ClassifierConfig, files: DatasetFiles, run: Run
) -> tuple[tuple[str, ...], Samples, str, bool]:
    if config.split == "test":
        return *_of_split(files, "test"), False
    validation = run.validation_dataset()
    require_validation(config.validation_dataset, validation)
    splits = make_splits(files, validation, source)
    brings_val = image_folder.index(FolderSource(files.dir)).has_val
    chosen = splits.train if config.split == "train" else splits.validation
    origin = split_origin(
        config, brings_val=brings_val, fraction=source.validation_fraction, seed=source.seed
    )
    return splits.classes, chosen, origin, is_divided(config, brings_val=brings_val)


def is_divided(config: EvaluateConfig, *, brings_val: bool) -> bool:
    """Whether the training's own split that is asked for was made by dividing its dataset."""
    return config.split == "val" and not (config.validation_dataset or brings_val)


def split_origin(config: EvaluateConfig, *, brings_val: bool, fraction: float, seed: int) -> str:
    """Where the training's own "train" or "val" split comes from, for people."""
    if config.split == "train":
        return "the images that the model was trained on"
    if config.validation_dataset:
        return f"{config.validation_dataset}, on which the training validated"
    if brings_val:
        return "the dataset's own val split, on which the training validated"
    return f"the {fraction:.0%} of the images that the training held out (seed {seed})"


def unknown_classes(names: Sequence[str], *, dataset: str) -> RecipeError:
    """The error for classes that the model does not know."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return RecipeError(
        f"{dataset} has classes that the model does not know: {', '.join(names[:_NAMED])}{more}.",
        reason="DATASET_INVALID",
        remedies=("Give the classes the names that the model was trained with.",),
    )


def _of_split(files: DatasetFiles, split: str) -> _Found:
    root = FolderSource(files.dir)
    index = image_folder.index(root).without(files.report.excluded)
    found = index.of(split)
    samples = Samples(
        root=root.root,
        dataset_sha256=files.sha256,
        paths=tuple(sample.path for sample in found),
        labels=tuple(sample.class_index for sample in found),
    )
    has_splits = bool(index.split_folders)
    return index.classes, samples, f"the dataset's own {split} split" if has_splits else "all of the dataset"


def _numbered(samples: Samples, names: Sequence[str], classes: Sequence[str], *, dataset: str) -> Samples:
    """The same images, their labels in the model's order of classes."""
    number = {name: position for position, name in enumerate(classes)}
    unknown = [names[label] for label in sorted(set(samples.labels)) if names[label] not in number]
    if unknown:
        raise unknown_classes(unknown, dataset=dataset)
    return replace(samples, labels=tuple(number[names[label]] for label in samples.labels))
