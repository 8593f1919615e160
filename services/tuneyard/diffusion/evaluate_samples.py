"""Which images an evaluation measures: those of a split, never any that were trained on by mistake.

The splits that the training made are made again by the same code, seed and settings. No torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuneyard.datasets.captioned import index
from tuneyard.diffusion.config import TextToImageConfig
from tuneyard.diffusion.samples import Sample, make_samples, make_splits
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.evaluate_config import EvaluateConfig
from tuneyard.trainer.run import DatasetFiles, Run


@dataclass(frozen=True)
class MeasuredSamples:
    """The images of a split."""

    samples: tuple[Sample, ...]
    origin: str
    """Where the split comes from, for people."""
    warning: str = ""
    """What makes the numbers say less than they seem to; "" if nothing was found."""


def measured_samples(
    config: EvaluateConfig, source: TextToImageConfig, *, manifest: Mapping[str, Any], run: Run
) -> MeasuredSamples:
    """The split that is asked for; `manifest` is the training's. Raises RecipeError DATASET_INVALID."""
    files = run.dataset()
    if config.is_own_dataset:
        _require_unchanged(files, manifest, name=config.dataset)
    found = (
        _held_by_training(config, source, manifest, run)
        if config.is_own_dataset and config.split != "test"
        else _of_split(config, source, files)
    )
    if not found.samples:
        raise RecipeError(
            f"The {config.split} split of {config.dataset} has no images.",
            reason="DATASET_INVALID",
            remedies=("Name another split, or a dataset that has one.",),
        )
    return found


def _held_by_training(
    config: EvaluateConfig, source: TextToImageConfig, manifest: Mapping[str, Any], run: Run
) -> MeasuredSamples:
    if config.validation_dataset and run.validation_dataset() is None:
        raise RecipeError(
            f"{config.validation_dataset}, on which the training validated, is no longer there.",
            reason="DATASET_INVALID",
            remedies=("Name the dataset to measure on.",),
        )
    splits = make_splits(source, run)
    if config.split == "train":
        warning = "These are the images that were trained on: the model may know them by heart."
        return MeasuredSamples(splits.train, "the images that were trained on", warning)
    held_out = manifest.get("held_out")
    if held_out and held_out != splits.held_out_sha256:
        raise RecipeError(
            "The images that the training held out cannot be told any more: this release divides the dataset"
            " in another way.",
            reason="DATASET_INVALID",
            remedies=("Name a dataset that was not trained on.",),
        )
    if config.validation_dataset:
        origin = f"{config.validation_dataset}, on which the training validated"
    else:
        origin = f"the images that the training held out (seed {source.seed})"
    return MeasuredSamples(splits.validation, origin)


def _of_split(config: EvaluateConfig, source: TextToImageConfig, files: DatasetFiles) -> MeasuredSamples:
    found = index(files.dir, files.report)
    has_splits = len(found.splits) > 1
    chosen = found.splits.get(config.split) or (() if has_splits else found.splits.get("train", ()))
    origin = f"the dataset's own {config.split} split" if has_splits else "all of the dataset"
    return MeasuredSamples(make_samples(chosen, found.root, source), origin)


def _require_unchanged(files: DatasetFiles, manifest: Mapping[str, Any], *, name: str) -> None:
    """Its splits could not be told apart, and images that were trained on would pass for held out."""
    trained_on = (manifest.get("dataset") or {}).get("sha256")
    if trained_on and trained_on != files.sha256:
        raise RecipeError(
            f"{name} holds other data than when the weights were trained: its splits cannot be told apart.",
            reason="DATASET_INVALID",
            remedies=("Upload the data to measure on as a dataset of another name, and name that one.",),
        )
