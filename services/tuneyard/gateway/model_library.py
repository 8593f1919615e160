"""What the model service does: the catalogue, imports, uploads, and models of the store."""

import asyncio
import contextlib
import re
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from tuneyard.gateway import paging
from tuneyard.gateway.model_files import import_source, store_members
from tuneyard.gateway.models import ModelRepository, already_exists
from tuneyard.gateway.part_writer import PartWriter, part_size_for
from tuneyard.gateway.requests import RequestKey
from tuneyard.gateway.sources import ImportSources
from tuneyard.gateway.store_calls import in_store
from tuneyard.gateway.trainers import Trainers
from tuneyard.rpc import names
from tuneyard.rpc.errors import TuneyardError, invalid
from tuneyard.storage import ObjectStore, StorageError
from tuneyard.v1 import model_service_pb2, trainer_service_pb2

log = structlog.get_logger(__name__)

DEFAULT_CATALOGUE_PAGE: Final = 200
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]*")
_POLL_SECONDS: Final = 1.0


class ModelLibrary:
    """Base models, from the trainers' catalogues and in the store."""

    def __init__(
        self,
        *,
        repository: ModelRepository,
        store: ObjectStore,
        sources: ImportSources,
        trainers: Trainers,
        work_dir: Path,
        is_leader: Callable[[], bool],
        new_id: Callable[[], str],
    ) -> None:
        """`work_dir` is this gateway's own, for archives while they are unpacked."""
        self._repository = repository
        self._store = store
        self._sources = sources
        self._trainers = trainers
        self._work_dir = work_dir
        self._is_leader = is_leader
        self._new_id = new_id
        self._wanted = asyncio.Event()

    def catalogue(
        self, request: model_service_pb2.ListBaseModelsRequest
    ) -> model_service_pb2.ListBaseModelsResponse:
        """A page of what the trainers can start from, recommended ones first. INVALID_PAGE_TOKEN."""
        digest = paging.filter_digest("base_models", request.family, request.task)
        place = paging.decode_token(request.page_token, digest)
        found = [
            model
            for model in self._trainers.base_models(request.family)
            if not request.task or request.task in model.tasks
        ]
        start = place.create_time if place else 0
        end = start + (request.page_size or DEFAULT_CATALOGUE_PAGE)
        token = paging.encode_token(paging.Place(end, ""), digest) if end < len(found) else ""
        return model_service_pb2.ListBaseModelsResponse(base_models=found[start:end], next_page_token=token)

    async def import_(
        self, request: model_service_pb2.ImportModelRequest, key: RequestKey | None
    ) -> model_service_pb2.Model:
        """An IMPORTING model, whose files are copied by and by. SOURCE_NOT_ALLOWED, NOT_SUPPORTED."""
        if made := await self._repository.find_request(key):
            return made
        if not request.source.startswith("/"):
            raise TuneyardError(
                "NOT_SUPPORTED",
                "this release fetches nothing from a hub: download the model, and import its folder",
            )
        path = await asyncio.to_thread(self._sources.local_path, request.source)
        identifier = request.model_id or f"{_id_from(path.name)}-{secrets.token_hex(3)}"
        model = model_service_pb2.Model(
            name=names.model_name(identifier),
            display_name=request.display_name or identifier,
            family=request.family,
            architecture=request.architecture,
            state=model_service_pb2.MODEL_STATE_IMPORTING,
            source=request.source,
            revision=request.revision,
            labels=request.labels,
        )
        made = await self._repository.create(model, trainer_service_pb2.ModelSource(), request=key)
        self._wanted.set()
        return made

    async def receive(
        self, header: model_service_pb2.ModelUploadHeader, chunks: AsyncIterator[bytes]
    ) -> model_service_pb2.Model:
        """A READY model from one file, or from the files of a ZIP. ALREADY_EXISTS, CHECKSUM_MISMATCH."""
        if not _FILE_NAME.fullmatch(header.file_name):
            raise invalid("header.file_name", "must be a plain file name, such as model.safetensors")
        name = names.model_name(header.model_id or self._new_id())
        if await self._repository.exists(name):
            raise already_exists(name)
        prefix = self._new_prefix(name)
        try:
            await self._receive_file(f"{prefix}{header.file_name}", header, chunks)
            stored = await in_store(
                store_members, self._store, prefix, header.file_name, work_dir=self._work_dir
            )
            model = model_service_pb2.Model(
                name=name,
                display_name=header.display_name or names.model_id(name),
                family=header.family,
                architecture=header.architecture,
                state=model_service_pb2.MODEL_STATE_READY,
                source=header.file_name,
                sha256=stored.sha256,
                size_bytes=stored.size_bytes,
                progress=1,
            )
            return await self._repository.create(model, stored.as_source(model))
        except BaseException:
            await asyncio.shield(in_store(self._store.delete_prefix, prefix))
            raise

    async def get(self, name: str) -> model_service_pb2.Model:
        """One model; MODEL_NOT_FOUND."""
        return await self._repository.get(name)

    async def list(
        self, request: model_service_pb2.ListModelsRequest
    ) -> tuple[Sequence[model_service_pb2.Model], str]:
        """A page of models, newest first, and the next page's token. INVALID_PAGE_TOKEN."""
        return await self._repository.list(
            family=request.family, page_size=request.page_size, page_token=request.page_token
        )

    async def delete(self, name: str) -> None:
        """Forget a model. MODEL_NOT_FOUND; MODEL_IN_USE while a job that waits or runs uses it."""
        await self._repository.delete(name)

    async def run(self) -> None:
        """Brings imports to their end, one after the other, until cancelled. Only the leader imports."""
        while True:
            try:
                for model in await self._repository.importing() if self._is_leader() else ():
                    await self._import(model)
            except (TuneyardError, StorageError) as error:
                log.warning("model imports interrupted", reason=error.reason, message=error.message)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._wanted.wait()
            self._wanted.clear()

    async def _import(self, model: model_service_pb2.Model) -> None:
        prefix = self._new_prefix(model.name)
        source = trainer_service_pb2.ModelSource()
        try:
            stored = await in_store(
                import_source, self._store, prefix, lambda: self._sources.local_path(model.source)
            )
        except TuneyardError as error:
            model.state, model.error = model_service_pb2.MODEL_STATE_FAILED, error.message
        else:
            model.state, model.progress = model_service_pb2.MODEL_STATE_READY, 1
            model.sha256, model.size_bytes = stored.sha256, stored.size_bytes
            source = stored.as_source(model)
        await self._repository.imported(model, source, prefix=prefix)
        log.info("model imported", model=model.name, error=model.error)

    async def _receive_file(
        self, key: str, header: model_service_pb2.ModelUploadHeader, chunks: AsyncIterator[bytes]
    ) -> None:
        part_size = part_size_for(header.size_bytes)
        upload_id = await in_store(self._store.create_upload, key, part_size_bytes=part_size)
        writer = PartWriter(
            self._store, key, upload_id, part_size=part_size, first_part=1, room_bytes=header.size_bytes
        )
        try:
            try:
                async for chunk in chunks:
                    if len(chunk) > writer.room_bytes:
                        raise invalid("chunk", "goes beyond the size that the header announced")
                    await writer.write(chunk)
            finally:
                await writer.flush()
            if writer.room_bytes:
                raise TuneyardError(
                    "CHECKSUM_MISMATCH", f"{writer.room_bytes} of the announced bytes are missing"
                )
            await in_store(self._complete, key, upload_id, header.sha256 or None)
        except BaseException:
            await asyncio.shield(in_store(self._store.abort_upload, key, upload_id))
            raise

    def _complete(self, key: str, upload_id: str, sha256: str | None) -> None:
        parts = self._store.list_parts(key, upload_id)
        self._store.complete_upload(key, upload_id, parts, sha256=sha256)

    def _new_prefix(self, name: str) -> str:
        return f"{name}/{self._new_id()}/"


def _id_from(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-._")[:80] or "model"
