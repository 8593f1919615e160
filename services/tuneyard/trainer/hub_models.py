"""A run's copy of a base model from a hub that is not in the store. Imports no torch."""

import shutil
from collections.abc import Callable
from pathlib import Path

from tuneyard.trainer.convert_child import Convert, ModelFiles
from tuneyard.trainer.hub_places import HUB_CACHE, cache_key

Cached = Callable[[str, str, Callable[[Path], None]], Path]
"""As `Run.cached`; a finished model that is tried has it too."""


def cached_model(hub_id: str, revision: str, cached: Cached, *, convert: Convert) -> tuple[Path, str]:
    """The folder of a hub's model, as an import stores it, and its commit: fetched once per trainer.

    Both have the same files and so one hash. Raises RecipeError as `convert` does.
    """

    def build(entry: Path) -> None:
        source, model = entry / "source", entry / "model"
        source.mkdir()
        model.mkdir()
        converted = convert(ModelFiles(source=source, result=model, hub_id=hub_id, revision=revision))
        shutil.rmtree(source)
        (entry / "revision").write_text(converted.revision, encoding="utf-8")

    entry = cached(HUB_CACHE, cache_key(hub_id, revision), build)
    return entry / "model", (entry / "revision").read_text(encoding="utf-8")
