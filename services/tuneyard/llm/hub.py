"""Language models from a hub: which files are fetched, and where a run finds its base model's folder."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuneyard.llm.base_identity import BaseIdentity
from tuneyard.llm.folder_files import CONFIG, description_files, weight_files
from tuneyard.llm.safe_config import check, read_json
from tuneyard.trainer import hub_files


@dataclass(frozen=True)
class BaseFiles:
    """A base model on this machine."""

    folder: Path
    """In the layout of transformers, read-only."""
    identity: BaseIdentity


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
