"""Whether an evaluation measures what the training held out, for every family. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.run import DatasetFiles

MOVED_SPLIT = "moved_split"
"""The code of `moved_warning`."""


def require_unchanged(files: DatasetFiles, manifest: Mapping[str, Any], *, name: str) -> None:
    """Raises RecipeError DATASET_INVALID if the dataset is no longer the one that was trained on.

    Its splits could not be told apart any more, and what was trained on would pass for held out.
    """
    trained_on = (manifest.get("dataset") or {}).get("sha256")
    if trained_on and trained_on != files.sha256:
        raise RecipeError(
            f"{name} holds other data than when the model was trained: its splits cannot be told apart.",
            reason="DATASET_INVALID",
            remedies=("Upload the data to measure on as a dataset of another name, and name that one.",),
        )


def require_validation(name: str, validation: DatasetFiles | None) -> None:
    """Raises RecipeError DATASET_INVALID if the training's own validation dataset, if any, is gone."""
    if name and validation is None:
        raise RecipeError(
            f"{name}, on which the training validated, is no longer there.",
            reason="DATASET_INVALID",
            remedies=("Name the dataset to measure on.",),
        )


def moved_warning(manifest: Mapping[str, Any], found: str, *, divided: bool) -> str:
    """What to tell where the validation split is not the one that the training held out; "" where it is.

    `found` is the split's hash as the training wrote it into its manifest. A split that lies in files of its
    own is apart from what was trained on, whatever became of it. One that was divided from the training
    data (`divided`) is not, if it is now divided in another way: RecipeError DATASET_INVALID.
    """
    if manifest.get("held_out", found) == found:
        return ""
    if divided:
        raise RecipeError(
            "What the training held out cannot be told any more: this release divides the dataset in another"
            " way, and the model knows a part of what would be measured.",
            reason="DATASET_INVALID",
            remedies=("Name a dataset that the model was not trained on.",),
        )
    return (
        "The validation split is not the one that the training validated on: its dataset was changed since,"
        " or this release reads it in another way. It is still apart from what was trained on, but its"
        " numbers cannot be compared with those of the training."
    )
