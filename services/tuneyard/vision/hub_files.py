"""Which files of a model on a hub a classifier or a detector is made of: weights and settings, never code."""

from collections.abc import Collection, Sequence

from tuneyard.trainer import hub_files
from tuneyard.trainer.convert_child import ModelFiles

_SETTINGS = ("config.json", "preprocessor_config.json")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""The first that is there is fetched."""


def fetch(files: ModelFiles) -> str:
    """Fetches into `files.source`; returns the commit. Raises RecipeError BASE_MODEL_UNAVAILABLE."""

    def choose(there: Collection[str]) -> Sequence[str]:
        weights = next((name for name in _WEIGHTS if name in there), None)
        if weights is None:
            raise hub_files.unavailable(files.hub_id, f"it has neither {' nor '.join(_WEIGHTS)}")
        return (weights, *(name for name in _SETTINGS if name in there))

    return hub_files.fetch(files.hub_id, files.source, choose=choose, revision=files.revision)
