"""Where merged models go that are wanted elsewhere than among their job's artifacts: the store, or a folder.

A name in the store is reserved by a model that is IMPORTING from the job, a folder by an empty one with a
mark: so both are refused to others from the beginning, and whoever restarts finds what is still to be done.
"""

import asyncio
import contextlib
import fcntl
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import structlog

from tuneyard.gateway.jobs import JobRepository
from tuneyard.gateway.model_files import StoredModel
from tuneyard.gateway.models import ModelRepository, already_exists
from tuneyard.gateway.sources import ImportSources
from tuneyard.gateway.store_calls import in_store
from tuneyard.gateway.transitions import TERMINAL
from tuneyard.rpc import names
from tuneyard.rpc.errors import TuneyardError, invalid
from tuneyard.storage import ObjectStore, StorageError
from tuneyard.v1 import event_pb2, job_pb2, model_service_pb2, trainer_service_pb2

log = structlog.get_logger(__name__)

MARK: Final = ".tuneyard-merge"
"""In a reserved folder: the name of the job whose model it waits for. It goes once everything is there."""
_NAME: Final = re.compile(r"(?:/?models/)?([A-Za-z0-9][A-Za-z0-9_.-]{0,99})")
_FOLDER: Final = "model/"
"""Below which a merge job keeps its model."""
_POLL_SECONDS: Final = 1.0
_FIELD: Final = "spec.output_path"


@dataclass(frozen=True)
class Output:
    """Where a merged model is to go: one of the two."""

    model: str = ""
    """"models/{model}"."""
    folder: str = ""
    """An absolute path on this machine."""


def output_of(path: str) -> Output:
    """What an output path means: names of the store first, then folders. INVALID_FIELD for neither."""
    if match := _NAME.fullmatch(path):
        return Output(model=names.model_name(match[1]))
    if path.startswith("/") and path.strip("/"):
        return Output(folder=path)
    raise invalid(_FIELD, 'must be a name in the store ("models/{model}"), or an absolute path of the server')


class MergedModels:
    """Reserves the places of merged models, and fills them."""

    def __init__(
        self,
        *,
        jobs: JobRepository,
        models: ModelRepository,
        store: ObjectStore,
        sources: ImportSources,
        is_leader: Callable[[], bool],
    ) -> None:
        self._is_leader = is_leader
        self._jobs = jobs
        self._models = models
        self._store = store
        self._sources = sources
        self._folders: dict[str, Path] = {}

    @property
    def pending(self) -> frozenset[str]:
        """The jobs whose folders this gateway has yet to fill."""
        return frozenset(self._folders)

    async def check(self, spec: job_pb2.MergeSpec) -> None:
        """Refuses a place that is taken or not allowed. ALREADY_EXISTS, SOURCE_NOT_ALLOWED, INVALID_FIELD."""
        if not spec.output_path:
            return
        output = output_of(spec.output_path)
        if output.model and await self._models.exists(output.model):
            raise already_exists(output.model)
        if output.folder:
            await asyncio.to_thread(self._free_folder, output.folder)

    async def reserve(self, job: job_pb2.Job) -> None:
        """Takes the place for a job; a second call for the same job changes nothing. As `check`."""
        path = job.spec.merge.output_path
        if not path:
            return
        output = output_of(path)
        if output.folder:
            self._folders[job.name] = await asyncio.to_thread(self._take_folder, output.folder, job.name)
            return
        model = model_service_pb2.Model(
            name=output.model,
            display_name=names.model_id(output.model),
            family=job.family,
            state=model_service_pb2.MODEL_STATE_IMPORTING,
            source=job.name,
        )
        try:
            await self._models.create(model, trainer_service_pb2.ModelSource())
        except TuneyardError as error:
            if error.reason != "ALREADY_EXISTS" or (await self._models.get(output.model)).source != job.name:
                raise

    async def merged(self, model: model_service_pb2.Model) -> trainer_service_pb2.ModelSource:
        """The files that a model is imported from, which its job made.

        JOB_STATE_CONFLICT while the job has not ended; a reservation of one that failed is given up, with
        MODEL_NOT_FOUND.
        """
        try:
            job = await self._jobs.get(model.source)
        except TuneyardError as error:
            if error.reason != "JOB_NOT_FOUND":
                raise
            job = job_pb2.Job(name=model.source, state=job_pb2.JOB_STATE_FAILED)
        if job.state not in TERMINAL:
            raise TuneyardError("JOB_STATE_CONFLICT", f"{job.name} has not ended", resource=job.name)
        if job.state != job_pb2.JOB_STATE_SUCCEEDED:
            await self._models.delete(model.name)
            raise TuneyardError("MODEL_NOT_FOUND", f"{job.name} made no model", resource=model.name)
        files = await self._model_files(job.name)
        if not files:
            raise TuneyardError("BASE_MODEL_UNAVAILABLE", f"{job.name} left no merged model")
        return StoredModel(tuple(files)).as_source(model)

    async def run(self) -> None:
        """Fills reserved folders of this machine until cancelled, those of earlier runs too."""
        await self._take_up(reserves=False)
        led = False
        while True:
            if self._is_leader() and not led:
                await self._take_up(reserves=True)
            led = self._is_leader()
            for name, folder in list(self._folders.items()):
                try:
                    await self._advance(name, folder)
                except (TuneyardError, StorageError, OSError) as error:
                    log.warning("merged model not handed over yet", job=name, error=type(error).__name__)
            await asyncio.sleep(_POLL_SECONDS)

    async def _take_up(self, *, reserves: bool) -> None:
        """Goes on with what other gateways of this machine, or earlier runs, have not come to the end of.

        A gateway that died right after it had accepted a job reserved nothing: one alone does that for it, or
        each would make a folder on its own machine.
        """
        for job in await self._jobs.merges():
            if folder := await asyncio.to_thread(_marked_folder, job):
                self._folders[job.name] = folder
            elif reserves and job.state not in TERMINAL:
                with contextlib.suppress(TuneyardError):
                    await self.reserve(job)

    async def _advance(self, name: str, folder: Path) -> None:
        try:
            job = await self._jobs.get(name)
        except TuneyardError as error:
            if error.reason != "JOB_NOT_FOUND":
                raise
            job = job_pb2.Job(name=name, state=job_pb2.JOB_STATE_FAILED)
        if job.state not in TERMINAL:
            return
        files = await self._model_files(name) if job.state == job_pb2.JOB_STATE_SUCCEEDED else []
        if await in_store(_hand_over, self._store, files, folder, name):
            log.info("merged model handed over", job=name, files=len(files))
        del self._folders[name]

    async def _model_files(self, name: str) -> list[event_pb2.StoredFile]:
        files = [file for file in await self._jobs.stored_artifacts(name) if file.path.startswith(_FOLDER)]
        for file in files:
            file.path = file.path.removeprefix(_FOLDER)
        return files

    def _free_folder(self, path: str) -> Path:
        """The real path of a folder that is to be made; its parent is there and allowed."""
        given = Path(os.path.normpath(path))
        try:
            target = self._sources.local_path(str(given.parent)) / given.name
        except TuneyardError as error:
            raise TuneyardError(
                error.reason,
                f"{path} is no new folder in one that is there and allowed (TUNEYARD_IMPORT_ROOTS): name "
                'such a one, or a name in the store ("models/{model}")',
            ) from error
        if target.exists() or target.is_symlink():
            raise TuneyardError(
                "ALREADY_EXISTS", f"{path} exists already: name a folder that does not", resource=path
            )
        return target

    def _take_folder(self, path: str, job: str) -> Path:
        if folder := _marked(Path(os.path.normpath(path)), job):
            return folder
        target = self._free_folder(path)
        try:
            target.mkdir()
            (target / MARK).write_text(job, encoding="utf-8")
        except OSError as error:
            raise invalid(_FIELD, "cannot be written by the gateway") from error
        return target


def _marked_folder(job: job_pb2.Job) -> Path | None:
    path = job.spec.merge.output_path
    with contextlib.suppress(TuneyardError):
        if path and (folder := output_of(path).folder):
            return _marked(Path(os.path.normpath(folder)), job.name)
    return None


def _marked(folder: Path, job: str) -> Path | None:
    try:
        return folder if (folder / MARK).read_text(encoding="utf-8") == job else None
    except (OSError, UnicodeDecodeError):
        return None


def _hand_over(store: ObjectStore, files: list[event_pb2.StoredFile], folder: Path, job: str) -> bool:
    """Fills a reserved folder; False if another gateway has. BlockingIOError while another one does."""
    if _marked(folder, job) is None:
        return False
    with contextlib.suppress(FileNotFoundError), (folder / MARK).open("rb") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had the lock before may have taken the mark off.
        if os.fstat(mark.fileno()).st_nlink:
            _copy(store, files, folder)
            _unmark(folder)
            return True
    return False


def _copy(store: ObjectStore, files: list[event_pb2.StoredFile], folder: Path) -> None:
    for file in files:
        relative = PurePosixPath(file.path)
        if relative.is_absolute() or ".." in relative.parts:
            raise OSError(f"{file.path!r} leads out of its folder")
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        store.get_file(file.key, target)


def _unmark(folder: Path) -> None:
    """The mark goes last; with it a folder in which nothing came."""
    with contextlib.suppress(FileNotFoundError):
        (folder / MARK).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()
