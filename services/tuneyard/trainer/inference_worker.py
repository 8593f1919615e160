"""An inference worker: the process that holds one finished model and answers what the trainer's server asks.

The warm server calls `run_worker` in a forked child; `python -m tuneyard.trainer.inference_worker DIR` is the
same in a process of its own. It never imports grpc, and it knows no task: the family's entry opens the model.
"""

import faulthandler
import hashlib
import importlib
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

from tuneyard.storage import ChecksumMismatch, ObjectNotFound, open_store
from tuneyard.trainer.cache import Cache
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.finished_model import (
    AnswerCancelled,
    Answerer,
    BadInput,
    FinishedModel,
    InferenceError,
)
from tuneyard.trainer.frames import Connection, Failure, Kind
from tuneyard.trainer.inputs import Inputs
from tuneyard.trainer.oom import free_memory, is_out_of_memory
from tuneyard.trainer.own_process import run_in_own_process
from tuneyard.trainer.settings import WorkerSettings
from tuneyard.trainer.transfers import Transfers, local_path
from tuneyard.v1.event_pb2 import StoredFile
from tuneyard.v1.trainer_service_pb2 import InferRequest

REQUEST_FILE = "request.pb"
"""An InferRequest with the job, its spec and its artifacts, in the worker's folder."""

OpenModel = Callable[[FinishedModel], Answerer]


class _ServerGone(Exception):
    """Nobody is left to answer."""


def run_worker(folder: Path) -> int:
    """Loads the model that a worker's folder names and answers until the server goes; the exit code."""
    faulthandler.enable()
    settings = WorkerSettings.read(folder / "settings.json")
    request = InferRequest.FromString((folder / REQUEST_FILE).read_bytes())
    connection = Connection.to(folder)
    try:
        return _serve(connection, request, settings)
    except (_ServerGone, BrokenPipeError, ConnectionResetError):
        return 0
    finally:
        connection.close()


def _serve(connection: Connection, request: InferRequest, settings: WorkerSettings) -> int:
    try:
        model = _open(request, settings)
    except Exception as error:
        connection.send(Kind.FAILED, _told(error).pack())
        return 0
    connection.send(Kind.READY)
    while (frame := connection.receive()) is not None:
        # A cancel that comes after its answer was whole has nothing left to end.
        if frame.kind is Kind.QUESTION:
            _answer(connection, model, InferRequest.FromString(frame.payload))
    return 0


def _answer(connection: Connection, model: Answerer, question: InferRequest) -> None:
    def check() -> None:
        if not connection.has_word():
            return
        frame = connection.receive()
        if frame is None:
            raise _ServerGone
        raise AnswerCancelled

    try:
        for piece in model.answer(question.method, question.request, check=check):
            connection.send(Kind.PIECE, piece)
            check()
    except AnswerCancelled:
        pass
    except (_ServerGone, BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:
        failure = _told(error)
        if failure.reason == "OUT_OF_MEMORY":
            free_memory()
        connection.send(Kind.FAILED, failure.pack())
        return
    connection.send(Kind.DONE)


def _open(request: InferRequest, settings: WorkerSettings) -> Answerer:
    # Until the process ends: what the cache holds for it is not removed under it.
    cache = Cache(settings.cache_dir, limit_bytes=settings.cache_limit_bytes)
    transfers = Transfers(
        open_store=lambda: open_store(settings.store_url, settings=settings.store),
        patience=settings.store_patience,
    )
    inputs = Inputs(cache, transfers=transfers, should_stop=lambda: False)
    open_model = cast(OpenModel, importlib.import_module(settings.family_entry).open_model)
    return open_model(
        FinishedModel(
            dir=fetch(request.artifacts, cache=cache, transfers=transfers),
            spec=request.spec,
            device="cpu" if settings.device == "cpu" else "cuda:0",
            cpu_threads=settings.cpu_threads,
            base=lambda: inputs.model_files(request.model) if request.HasField("model") else None,
            base_sha256=request.model.sha256,
            cached=cache.entry,
        )
    )


def fetch(files: Iterable[StoredFile], *, cache: Cache, transfers: Transfers) -> Path:
    """The folder with the files, each proved by its hash: from the trainer's cache, or into it.

    Raises InferenceError ARTIFACT_NOT_FOUND and CHECKSUM_MISMATCH, RecipeError of the store and the disk.
    """
    wanted = sorted(files, key=lambda file: file.path)

    def build(folder: Path) -> None:
        for file in wanted:
            try:
                transfers.download(file.key, local_path(folder, file.path), sha256=file.sha256)
            except ObjectNotFound as error:
                text = f"The model's file {file.path} is not in the object store any more."
                raise InferenceError("ARTIFACT_NOT_FOUND", text) from error
            except ChecksumMismatch as error:
                text = f"The model's file {file.path} in the object store is not the one that was stored."
                raise InferenceError("CHECKSUM_MISMATCH", text) from error

    named = "\n".join(f"{file.sha256} {file.path}" for file in wanted)
    digest = hashlib.sha256(named.encode()).hexdigest()
    return cache.entry("models", digest, build, expected_bytes=sum(file.size_bytes for file in wanted))


def _told(error: Exception) -> Failure:
    """What the caller reads of an error; what nobody expected goes to the trainer's log."""
    if isinstance(error, BadInput):
        return Failure("INVALID_FIELD", str(error), error.violations)
    if isinstance(error, RecipeError | InferenceError):
        return Failure(error.reason, error.message)
    traceback.print_exc()
    if is_out_of_memory(error):
        return Failure("OUT_OF_MEMORY", "Memory ran out: send fewer or smaller inputs at a time.")
    kind = type(error).__name__
    return Failure("RECIPE_FAILED", f"The model failed with {kind}; the trainer's log has more.")


if __name__ == "__main__":
    run_in_own_process(run_worker)
