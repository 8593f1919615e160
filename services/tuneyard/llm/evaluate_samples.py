"""Which rows an evaluation measures: those of a split, never any that the model was trained on by mistake.

The splits that the training made are made again by the same code, seed and settings. Text only: no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tuneyard.datasets.jsonl import index
from tuneyard.datasets.jsonl_lines import FileUnusable
from tuneyard.llm.config import LanguageModelConfig
from tuneyard.llm.splits import Examples, make_splits
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.evaluate_config import EvaluateConfig
from tuneyard.trainer.held_out import MOVED_SPLIT, moved_warning, require_unchanged, require_validation
from tuneyard.trainer.run import DatasetFiles, Run


@dataclass(frozen=True)
class MeasuredExamples:
    """The rows of a split."""

    examples: Examples
    origin: str
    """Where the split comes from, for people."""
    warnings: Mapping[str, str] = field(default_factory=dict)
    """What makes the numbers say less than they seem to, by code."""

    @property
    def warning(self) -> str:
        """All of them as one text; "" if nothing was found."""
        return " ".join(self.warnings.values())


def measured_examples(
    config: EvaluateConfig, source: LanguageModelConfig, *, manifest: Mapping[str, Any], run: Run
) -> MeasuredExamples:
    """The split that is asked for; `manifest` is the training's. Raises RecipeError DATASET_INVALID."""
    files = run.dataset()
    if config.is_own_dataset:
        require_unchanged(files, manifest, name=config.dataset)
    found = (
        _held_by_training(config, source, manifest, run)
        if config.is_own_dataset and config.split != "test"
        else _of_split(config, files)
    )
    if not len(found.examples):
        raise RecipeError(
            f"The {config.split} split of {config.dataset} has no rows.",
            reason="DATASET_INVALID",
            remedies=("Name another split, or a dataset that has one.",),
        )
    return found


def _held_by_training(
    config: EvaluateConfig, source: LanguageModelConfig, manifest: Mapping[str, Any], run: Run
) -> MeasuredExamples:
    require_validation(config.validation_dataset, run.validation_dataset())
    splits = make_splits(source, run)
    if config.split == "train":
        warning = "These are the rows that the model was trained on: it may know them by heart."
        return MeasuredExamples(
            splits.train, "the rows that the model was trained on", {"trained_on": warning}
        )
    held_out = splits.validation
    divided = not (config.validation_dataset or _brings_validation(held_out))
    moved = moved_warning(manifest, held_out.sha256, divided=divided)
    warnings = ({MOVED_SPLIT: moved} if moved else {}) | _leaks(held_out, splits.train)
    return MeasuredExamples(held_out, _origin(config, source, held_out), warnings)


def _origin(config: EvaluateConfig, source: LanguageModelConfig, validation: Examples) -> str:
    if config.validation_dataset:
        return f"{config.validation_dataset}, on which the training validated"
    if _brings_validation(validation):
        return "the dataset's own val split, on which the training validated"
    return f"the {source.validation_fraction:.0%} of the rows that the training held out (seed {source.seed})"


def _brings_validation(validation: Examples) -> bool:
    return len(validation) > 0 and validation[0].split == "val"


def _of_split(config: EvaluateConfig, files: DatasetFiles) -> MeasuredExamples:
    try:
        found = index(files.dir, files.report)
    except FileUnusable as error:
        raise RecipeError(
            f"The dataset cannot be read: {error}",
            reason="DATASET_INVALID",
            remedies=("Check the dataset again, and upload it anew.",),
        ) from error

    def of(name: str) -> Examples:
        positions = np.array(found.splits.get(name, range(0)), dtype=np.int64)
        return Examples(found, positions, dataset=files)

    has_splits = len(found.splits) > 1
    origin = f"the dataset's own {config.split} split" if has_splits else "all of the dataset"
    chosen = of(config.split)
    trained_on = of("train") if config.is_own_dataset else None
    return MeasuredExamples(chosen, origin, _leaks(chosen, trained_on) if trained_on is not None else {})


def _leaks(measured: Examples, trained_on: Examples) -> dict[str, str]:
    leaked = int(np.isin(measured.digests, trained_on.digests).sum())
    if not leaked:
        return {}
    told = (
        f"{leaked} of the {len(measured)} rows are in the training split too: what is measured on them says"
        " nothing about new ones."
    )
    return {"leaking_splits": told}
