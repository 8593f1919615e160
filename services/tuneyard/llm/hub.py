"""Language models from a hub: which files are fetched, and a run's copy of a base outside of the store."""

import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from tuneyard.llm import catalogue
from tuneyard.llm.folder_files import CONFIG, description_files, weight_files
from tuneyard.llm.safe_config import check
from tuneyard.trainer import hub_files
from tuneyard.trainer.convert_child import ModelFiles
from tuneyard.trainer.hub_places import HUB_CACHE, cache_key
from tuneyard.trainer.safe_json import read_json

Cached = Callable[[str, str, Callable[[Path], None]], Path]
"""As `Run.cached`; a finished model that is tried has it too."""


def fetch(hub_id: str, folder: Path, *, revision: str = "") -> str:
    """Fetches a language model's files into the folder, its config.json first, which may rule out the rest.

    Returns the commit. Raises RecipeError BASE_MODEL_UNAVAILABLE, and as `safe_config.check` does.
    """

    def only_config(there: Collection[str]) -> Sequence[str]:
        if CONFIG not in there:
            raise hub_files.unavailable(hub_id, f"it has no {CONFIG}, so it is no model of transformers")
        return [CONFIG]

    def everything(there: Collection[str]) -> Sequence[str]:
        weights = weight_files(there)
        if not weights:
            raise hub_files.unavailable(hub_id, "it has no weights in safetensors")
        return [*description_files(there), *weights]

    commit = hub_files.fetch(hub_id, folder, choose=only_config, revision=revision)
    check(read_json(folder / CONFIG))
    return hub_files.fetch(hub_id, folder, choose=everything, revision=commit)


def cached_base(name: str, revision: str, cached: Cached) -> tuple[Path, str]:
    """The folder of a base model by its alias or hub id, and its commit: fetched once per trainer.

    The files are those that an import stores, so that both have one hash. Raises RecipeError
    BASE_MODEL_UNAVAILABLE with the import command, and as an import is refused.
    """
    known = catalogue.find(name)
    hub_id = known.hub_id if known else name
    wanted = revision or (known.revision if known else "")

    def build(entry: Path) -> None:
        # Checking needs torch, which estimates, that share this module's callers, do without.
        from tuneyard.llm.convert import convert

        source, model = entry / "source", entry / "model"
        source.mkdir()
        model.mkdir()
        converted = convert(ModelFiles(source=source, result=model, hub_id=hub_id, revision=wanted))
        shutil.rmtree(source)
        (entry / "revision").write_text(converted.revision, encoding="utf-8")

    entry = cached(HUB_CACHE, cache_key(hub_id, wanted), build)
    return entry / "model", (entry / "revision").read_text(encoding="utf-8")
