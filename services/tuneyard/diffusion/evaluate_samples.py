"""Which images an evaluation measures: those of a split, never any that were trained on by mistake.

The splits that the training made are made again by the same code, seed and settings. No torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tuneyard.datasets.captioned import index
from tuneyard.diffusion.config import TextToImageConfig
from tuneyard.diffusion.samples import Sample, make_samples, make_splits
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.evaluate_config import EvaluateConfig
from tuneyard.trainer.held_out import MOVED_SPLIT, moved_warning, require_unchanged, require_validation
from tuneyard.trainer.run import DatasetFiles, Run


@dataclass(frozen=True)
class MeasuredSamples:
    """The images of a split."""

    samples: tuple[Sample, ...]
    origin: str
    """Where the split comes from, for people."""
    warnings: Mapping[str, str] = field(default_factory=dict)
    """What makes the numbers say less than they seem to, by code."""

    @property
    def warning(self) -> str:
        """All of them in one, for the report."""
        return " ".join(self.warnings.values())


def measured_samples(
    config: EvaluateConfig, source: TextToImageConfig, *, manifest: Mapping[str, Any], run: Run
) -> MeasuredSamples:
    """The split that is asked for; `manifest` is the training's. Raises RecipeError DATASET_INVALID."""
    files = run.dataset()
    if config.is_own_dataset:
        require_unchanged(files, manifest, name=config.dataset)
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
    require_validation(config.validation_dataset, run.validation_dataset())
    splits = make_splits(source, run)
    if config.split == "train":
        warning = "These are the images that were trained on: the model may know them by heart."
        return MeasuredSamples(splits.train, "the images that were trained on", {"trained_on": warning})
    moved = moved_warning(manifest, splits.held_out_sha256, divided=splits.divided)
    if config.validation_dataset:
        origin = f"{config.validation_dataset}, on which the training validated"
    elif splits.divided:
        origin = f"the images that the training held out (seed {source.seed})"
    else:
        origin = "the dataset's own val split, on which the training validated"
    return MeasuredSamples(splits.validation, origin, {MOVED_SPLIT: moved} if moved else {})


def _of_split(config: EvaluateConfig, source: TextToImageConfig, files: DatasetFiles) -> MeasuredSamples:
    found = index(files.dir, files.report)
    has_splits = len(found.splits) > 1
    chosen = found.splits.get(config.split) or (() if has_splits else found.splits.get("train", ()))
    origin = f"the dataset's own {config.split} split" if has_splits else "all of the dataset"
    return MeasuredSamples(make_samples(chosen, found.root, source), origin)
