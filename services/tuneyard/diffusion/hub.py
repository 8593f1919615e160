"""Text-to-image models from a hub: which files are fetched, and a run's copy of a base that is not stored."""

from collections.abc import Collection, Sequence
from pathlib import Path

from tuneyard.diffusion import catalogue
from tuneyard.diffusion.clip_files import CONFIG, clip_files, has_weights, is_clip
from tuneyard.diffusion.pipeline_files import checkpoint_files, config_files, pipeline_files
from tuneyard.diffusion.safe_pipeline import INDEX, PipelineIndex, check_index
from tuneyard.trainer import hub_files
from tuneyard.trainer.convert_child import Converted, ModelFiles
from tuneyard.trainer.hub_models import Cached, cached_model
from tuneyard.trainer.safe_json import read_json


def fetch(hub_id: str, folder: Path, *, revision: str = "") -> str:
    """Fetches a pipeline's files into the folder, its index first, which may rule out the rest; or a CLIP
    model's; or the one checkpoint of a repository that has neither.

    Returns the commit. Raises RecipeError BASE_MODEL_UNAVAILABLE, and as `check_index` does.
    """

    def description(there: Collection[str]) -> Sequence[str]:
        return [next(filter(there.__contains__, (INDEX, CONFIG)))] if {INDEX, CONFIG} & {*there} else []

    commit = hub_files.fetch(hub_id, folder, choose=description, revision=revision)
    if (folder / INDEX).is_file():
        choose = _of_pipeline(hub_id, check_index(read_json(folder / INDEX)))
    elif is_clip(folder):
        choose = _of_clip(hub_id)
    else:
        choose = _one_checkpoint(hub_id)
    return hub_files.fetch(hub_id, folder, choose=choose, revision=commit)


def _of_pipeline(hub_id: str, index: PipelineIndex) -> hub_files.Choose:
    def choose(there: Collection[str]) -> Sequence[str]:
        files = list(pipeline_files(there, index))
        for part in index.weighty:
            if not any(name.startswith(f"{part}/") and name.endswith(".safetensors") for name in files):
                raise hub_files.unavailable(hub_id, f"its {part} has no weights in safetensors")
        return files

    return choose


def _of_clip(hub_id: str) -> hub_files.Choose:
    def choose(there: Collection[str]) -> Sequence[str]:
        if not has_weights(there):
            raise hub_files.unavailable(hub_id, "it has no weights in safetensors")
        return clip_files(there)

    return choose


def _one_checkpoint(hub_id: str) -> hub_files.Choose:
    def choose(there: Collection[str]) -> Sequence[str]:
        found = checkpoint_files(there)
        if len(found) == 1:
            return found
        why = f"several checkpoints ({', '.join(found[:4])})" if found else "no checkpoint in one file either"
        raise hub_files.unavailable(hub_id, f"it has no {INDEX}, and {why}")

    return choose


def fetch_configs(hub_id: str, folder: Path, *, revision: str) -> PipelineIndex:
    """Fetches what describes a pipeline, and no weights. Raises as `fetch`."""
    hub_files.fetch(hub_id, folder, choose=lambda there: [INDEX], revision=revision)
    index = check_index(read_json(folder / INDEX))
    hub_files.fetch(hub_id, folder, choose=lambda there: config_files(there, index), revision=revision)
    return index


def cached_base(name: str, revision: str, cached: Cached) -> tuple[Path, str]:
    """The folder of a base model by its alias or hub id, and its commit: fetched once per trainer.

    The files are those that an import stores, so that both have one hash. Raises RecipeError
    BASE_MODEL_UNAVAILABLE with the import command, and as an import is refused.
    """
    known = catalogue.find(name)
    hub_id = known.hub_id if known else name
    wanted = revision or (known.revision if known else "")

    def convert(files: ModelFiles) -> Converted:
        # Converting needs torch, which estimates, that share this module's callers, do without.
        from tuneyard.diffusion.convert import convert

        return convert(files)

    return cached_model(hub_id, wanted, cached, convert=convert)
