"""A preview's worker: the process in which a family shows what a job would train on, once.

The warm server calls `run_worker` in a forked child; `python -m tuneyard.trainer.preview_worker DIR` is the
same in a process of its own. It never imports grpc, and it knows no task: the family's entry has
`preview(request, inputs)`.
"""

import faulthandler
import importlib
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tuneyard.storage import open_store
from tuneyard.trainer.cache import Cache
from tuneyard.trainer.data_folder import write_whole
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.frames import Failure
from tuneyard.trainer.inputs import Inputs
from tuneyard.trainer.own_process import run_in_own_process
from tuneyard.trainer.run import DatasetFiles
from tuneyard.trainer.settings import WorkerSettings
from tuneyard.trainer.transfers import Transfers
from tuneyard.v1.preview_pb2 import Preview
from tuneyard.v1.trainer_service_pb2 import ModelSource, TrainerServicePreviewRequest

REQUEST_FILE, ANSWER_FILE, FAILURE_FILE = "request.pb", "answer.pb", "failure.json"
"""In the worker's folder: what is asked, a Preview, or why there is none."""

Choose = Callable[[Collection[str]], Sequence[str]]
"""From the names of all of a model's files, those that are wanted."""


@dataclass(frozen=True, kw_only=True)
class PreviewInputs:
    """What a preview is made from, on this machine."""

    dataset: DatasetFiles
    model_files: Callable[[Choose], Path | None]
    """The folder with the chosen files of the base model, verified; None where it is none of the store's."""
    cached: Callable[[str, str, Callable[[Path], None]], Path]
    """Derived data as by `Run.cached`, which shares it."""


MakePreview = Callable[[TrainerServicePreviewRequest, PreviewInputs], Preview]


def run_worker(folder: Path) -> int:
    """Makes the preview that a worker's folder asks for, and writes it there or why there is none."""
    faulthandler.enable()
    settings = WorkerSettings.read(folder / "settings.json")
    request = TrainerServicePreviewRequest.FromString((folder / REQUEST_FILE).read_bytes())
    try:
        made = _preview(request, settings)
    except Exception as error:
        write_whole(folder / FAILURE_FILE, _told(error).pack())
    else:
        write_whole(folder / ANSWER_FILE, made.SerializeToString())
    return 0


def _preview(request: TrainerServicePreviewRequest, settings: WorkerSettings) -> Preview:
    cache = Cache(settings.cache_dir, limit_bytes=settings.cache_limit_bytes)
    transfers = Transfers(
        open_store=lambda: open_store(settings.store_url, settings=settings.store),
        patience=settings.store_patience,
    )
    inputs = Inputs(cache, transfers=transfers, should_stop=lambda: False)

    def model_files(choose: Choose) -> Path | None:
        if not request.HasField("model"):
            return None
        return inputs.model_files(_part(request.model, choose))

    make = cast(MakePreview, importlib.import_module(settings.family_entry).preview)
    dataset = inputs.dataset(request.dataset)
    return make(request, PreviewInputs(dataset=dataset, model_files=model_files, cached=cache.entry))


def _part(model: ModelSource, choose: Choose) -> ModelSource:
    """The model with only the chosen files, and a name in the cache that says so."""
    wanted = set(choose({file.path for file in model.files}))
    files = [file for file in model.files if file.path in wanted]
    named = "\n".join(f"{file.path} {file.sha256}" for file in files)
    return ModelSource(name=model.name, files=files, sha256=f"part\n{named}")


def _told(error: Exception) -> Failure:
    """What the caller reads of an error; what nobody expected goes to the trainer's log."""
    if isinstance(error, RecipeError):
        return Failure(error.reason, " ".join((error.message, *error.remedies)))
    traceback.print_exc()
    return Failure(
        "RECIPE_FAILED", f"The preview failed with {type(error).__name__}; the trainer's log has more."
    )


if __name__ == "__main__":
    run_in_own_process(run_worker)
