"""Brings imports of models to their end: files are copied into the store, then a trainer converts them.

Only the leader imports. What was copied is recorded, so that a restart goes on with the conversion. Nothing
of a model is read here: trainers do that, in processes that hold no credentials.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from tuneyard.gateway.kinds import family_name
from tuneyard.gateway.merged_models import MergedModels
from tuneyard.gateway.model_files import REFUSED, StoredModel, import_source, is_packed, unpacked
from tuneyard.gateway.models import ModelRepository
from tuneyard.gateway.sources import ImportSources
from tuneyard.gateway.store_calls import in_store
from tuneyard.gateway.trainers import Trainers
from tuneyard.rpc.errors import TuneyardError
from tuneyard.storage import ObjectStore, StorageError
from tuneyard.v1 import event_pb2, model_service_pb2, trainer_service_pb2

log = structlog.get_logger(__name__)

RECEIVED: Final = "received/"
"""Below a model's prefix, the files as they came; deleted once they are converted."""
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
_JOBS: Final = "jobs/"
"""Begins the source of a model that a merge job makes."""
_POLL_SECONDS: Final = 1.0
_COPIED: Final = 0.5
# What passes by itself: the import waits.
_RETRY_LATER: Final = {
    *("TRAINER_UNAVAILABLE", "SHUTTING_DOWN", "STORE_UNAVAILABLE", "UNAUTHENTICATED"),
    # The job that makes the model has not ended.
    "JOB_STATE_CONFLICT",
}


def is_hub_id(source: str) -> bool:
    """Whether a source looks like "google/vit-base-patch16-224"."""
    return bool(_HUB_ID.fullmatch(source)) and ".." not in source and not source.startswith(_JOBS)


class ModelImports:
    """Works at the IMPORTING models, one after the other."""

    def __init__(
        self,
        *,
        repository: ModelRepository,
        store: ObjectStore,
        sources: ImportSources,
        trainers: Trainers,
        merged: MergedModels,
        is_leader: Callable[[], bool],
        new_id: Callable[[], str],
        work_dir: Path,
    ) -> None:
        """`work_dir` is this gateway's own, for archives while they are unpacked."""
        self._repository = repository
        self._store = store
        self._sources = sources
        self._trainers = trainers
        self._merged = merged
        self._is_leader = is_leader
        self._new_id = new_id
        self._work_dir = work_dir
        self._wanted = asyncio.Event()

    def poke(self) -> None:
        """There is a new import."""
        self._wanted.set()

    def new_prefix(self, name: str) -> str:
        """A prefix for the files of a model, used once."""
        return f"{name}/{self._new_id()}/"

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            try:
                for model in await self._repository.importing() if self._is_leader() else ():
                    await self._advance(model)
            except (TuneyardError, StorageError) as error:
                log.warning("model imports interrupted", reason=error.reason, message=error.message)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._wanted.wait()
            self._wanted.clear()

    async def _advance(self, model: model_service_pb2.Model) -> None:
        """Brings one import to its end, or leaves it waiting for what will pass."""
        received = await self._repository.files(model.name)
        try:
            received = await self._received(model, received)
            source = await self._converted(model, received)
        except (TuneyardError, StorageError) as error:
            if error.reason == "MODEL_NOT_FOUND":
                return
            if isinstance(error, StorageError) or error.reason in _RETRY_LATER:
                kept = trainer_service_pb2.ModelSource() if model.source.startswith(_JOBS) else received
                await self._wait(model, kept, error)
                return
            source = trainer_service_pb2.ModelSource()
            model.state, model.error = model_service_pb2.MODEL_STATE_FAILED, error.message
            model.ClearField("detail")
        else:
            stored = StoredModel(tuple(source.files))
            model.state, model.progress = model_service_pb2.MODEL_STATE_READY, 1
            model.sha256, model.size_bytes = stored.sha256, stored.size_bytes
            source = stored.as_source(model, facts=source.facts)
        # What a job made stays its own.
        unneeded = () if model.source.startswith(_JOBS) else [file.key for file in received.files]
        await self._repository.imported(model, source, received=unneeded)
        log.info("model imported", model=model.name, error=model.error)

    async def _received(
        self, model: model_service_pb2.Model, received: trainer_service_pb2.ModelSource
    ) -> trainer_service_pb2.ModelSource:
        """The files as they came; copied now where that was not done yet. A hub's are not copied here."""
        if model.source.startswith(_JOBS):
            return await self._merged.merged(model)
        if len(received.files) == 1 and is_packed(received.files[0].path):
            return await self._unpacked(model, received.files[0])
        if received.files or is_hub_id(model.source):
            return received
        prefix = f"{self.new_prefix(model.name)}{RECEIVED}"
        try:
            stored = await in_store(
                import_source, self._store, prefix, lambda: self._sources.local_path(model.source)
            )
        except (TuneyardError, StorageError):
            # No record names what was copied before it failed.
            await in_store(self._store.delete_prefix, prefix)
            raise
        received, model.progress = stored.as_source(model), _COPIED
        await self._repository.received(model, received)
        return received

    async def _unpacked(
        self, model: model_service_pb2.Model, packed: event_pb2.StoredFile
    ) -> trainer_service_pb2.ModelSource:
        """The files of a ZIP that was uploaded, in its place. What a crash leaves is written again."""
        prefix = f"{packed.key.rpartition('/')[0]}/"
        try:
            stored = await in_store(unpacked, self._store, packed.key, prefix, work_dir=self._work_dir)
        except REFUSED as error:
            await in_store(self._store.delete_prefix, prefix)
            raise TuneyardError("INVALID_FIELD", f"the ZIP is refused: {error}") from error
        received, model.progress = stored.as_source(model), _COPIED
        model.size_bytes = stored.size_bytes
        await self._repository.received(model, received)
        await in_store(self._store.delete, packed.key)
        return received

    async def _converted(
        self, model: model_service_pb2.Model, received: trainer_service_pb2.ModelSource
    ) -> trainer_service_pb2.ModelSource:
        """What jobs start from. The model's fields about its content are set."""
        request = trainer_service_pb2.ConvertModelRequest(
            model=received,
            hub_id="" if received.files else model.source,
            prefix=self.new_prefix(model.name),
        )
        request.model.architecture, request.model.revision = model.architecture, model.revision
        try:
            response = await self._trainers.convert_model(model.family, request)
        except TuneyardError as error:
            if error.reason != "NOT_SUPPORTED":
                raise
            if not received.files:
                family = family_name(model.family)
                raise TuneyardError(
                    "NOT_SUPPORTED",
                    f"the {family} trainer fetches nothing from a hub: download {model.source}, and import"
                    " its folder",
                ) from error
            return received
        model.architecture, model.revision = response.model.architecture, response.model.revision
        model.detail = response.detail
        model.tasks[:] = response.tasks
        return response.model

    async def _wait(
        self,
        model: model_service_pb2.Model,
        received: trainer_service_pb2.ModelSource,
        error: TuneyardError | StorageError,
    ) -> None:
        told = f"waiting: {error.message}"
        if model.detail != told:
            model.detail = told
            await self._repository.received(model, received)
