"""Language models from a hub: which files are fetched, and a run's copy of a base outside of the store."""

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from tuneyard.llm import catalogue
from tuneyard.llm.folder_files import CONFIG, SETTINGS, description_files, weight_files
from tuneyard.llm.safe_config import check
from tuneyard.trainer import hub_files
from tuneyard.trainer.convert_child import Converted, ModelFiles
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.hub_models import Cached, cached_model
from tuneyard.trainer.hub_places import cache_key
from tuneyard.trainer.linking import link_or_copy
from tuneyard.trainer.safe_json import read_json

_TOKENIZER_CACHE = "hub-tokenizers"


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
    hub_id, wanted = _pinned(name, revision)

    def convert(files: ModelFiles) -> Converted:
        # Checking needs torch, which estimates, that share this module's callers, do without.
        from tuneyard.llm.convert import convert

        return convert(files)

    return cached_model(hub_id, wanted, cached, convert=convert)


def cached_tokenizer(name: str, revision: str, cached: Cached) -> Path:
    """The folder with a base model's config.json and tokenizer alone, by its alias or hub id.

    Where these cannot be fetched, that of the whole model if an earlier run fetched it; raises as
    `cached_base`.
    """
    hub_id, wanted = _pinned(name, revision)

    def build(entry: Path) -> None:
        from tuneyard.llm.convert import take_tokenizer

        source, result = entry / "source", entry / "tokenizer"
        result.mkdir()
        hub_files.fetch(hub_id, source, choose=description_files, revision=wanted)
        check(read_json(source / CONFIG))
        for setting in SETTINGS:
            if (source / setting).is_file():
                link_or_copy(source / setting, result / setting)
        take_tokenizer(source, result)
        shutil.rmtree(source)

    try:
        return cached(_TOKENIZER_CACHE, cache_key(hub_id, wanted), build) / "tokenizer"
    except RecipeError:
        folder, _ = cached_base(name, revision, cached)
        return folder


def _pinned(name: str, revision: str) -> tuple[str, str]:
    """The hub's id and the revision that are meant by a base model's name."""
    known = catalogue.find(name)
    return (known.hub_id, revision or known.revision) if known else (name, revision)
