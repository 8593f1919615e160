"""What the model service does: the catalogue, accepting imports and uploads, and models of the store."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from tuneyard.gateway import paging
from tuneyard.gateway.model_files import store_members
from tuneyard.gateway.model_imports import RECEIVED, ModelImports, is_hub_id
from tuneyard.gateway.model_uploads import ModelUploads
from tuneyard.gateway.models import ModelRepository, already_exists
from tuneyard.gateway.part_writer import PartWriter, part_size_for
from tuneyard.gateway.requests import RequestKey
from tuneyard.gateway.sources import ImportSources
from tuneyard.gateway.standing_models import standing_for, wanted_base
from tuneyard.gateway.store_calls import in_store
from tuneyard.gateway.trainers import Trainers
from tuneyard.rpc import names
from tuneyard.rpc.errors import TuneyardError, invalid
from tuneyard.storage import ObjectStore
from tuneyard.v1 import event_pb2, model_service_pb2, trainer_service_pb2, training_pb2

DEFAULT_CATALOGUE_PAGE: Final = 200
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]*")


class ModelLibrary:
    """Base models, from the trainers' catalogues and in the store."""

    def __init__(
        self,
        *,
        repository: ModelRepository,
        store: ObjectStore,
        sources: ImportSources,
        trainers: Trainers,
        imports: ModelImports,
        uploads: ModelUploads,
        work_dir: Path,
    ) -> None:
        """`work_dir` is this gateway's own, for archives while they are unpacked."""
        self._repository = repository
        self._store = store
        self._sources = sources
        self._trainers = trainers
        self._imports = imports
        self._uploads = uploads
        self._work_dir = work_dir

    async def catalogue(
        self, request: model_service_pb2.ListBaseModelsRequest
    ) -> model_service_pb2.ListBaseModelsResponse:
        """A page of what the trainers can start from, recommended ones first. INVALID_PAGE_TOKEN.

        A model of the store with an architecture's own name stands for it: no network is needed then.
        """
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
        page, ready = found[start:end], await self._repository.ready()
        for model in page:
            if standing := standing_for(wanted_base(model.id, [model]), ready):
                model.model, model.availability = standing.name, model_service_pb2.AVAILABILITY_IN_STORE
        return model_service_pb2.ListBaseModelsResponse(base_models=page, next_page_token=token)

    async def import_(
        self, request: model_service_pb2.ImportModelRequest, key: RequestKey | None
    ) -> model_service_pb2.Model:
        """An IMPORTING model. SOURCE_NOT_ALLOWED; INVALID_FIELD for what is neither a path nor a hub's id.

        An alias of the catalogue is imported from its place on the hub, at its pinned revision.
        """
        if made := await self._repository.find_request(key):
            return made
        if known := self._alias(request.source, request.family):
            return await self._import_alias(known, request, key)
        if request.source.startswith("/"):
            name = (await asyncio.to_thread(self._sources.local_path, request.source)).name
        elif is_hub_id(request.source):
            name = request.source.rpartition("/")[2]
        else:
            raise invalid("source", 'must be an absolute path of the server, or a hub\'s id, "owner/name"')
        return await self._begin(request, request.model_id or f"{_id_from(name)}-{secrets.token_hex(3)}", key)

    def _alias(
        self, source: str, family: "training_pb2.Family.ValueType"
    ) -> model_service_pb2.BaseModel | None:
        catalogue = self._trainers.base_models(family)
        return next((known for known in catalogue if known.hub_id and known.id == source), None)

    async def _import_alias(
        self,
        known: model_service_pb2.BaseModel,
        request: model_service_pb2.ImportModelRequest,
        key: RequestKey | None,
    ) -> model_service_pb2.Model:
        revision = request.revision or known.revision
        if not revision:
            raise invalid("revision", f"is required: {known.id} has no pinned revision in this release")
        meant = model_service_pb2.ImportModelRequest()
        meant.CopyFrom(request)
        meant.source, meant.revision = known.hub_id, revision
        taken = await self._repository.exists(names.model_name(known.id))
        own = f"{known.id}-{secrets.token_hex(3)}" if taken else known.id
        return await self._begin(meant, request.model_id or own, key)

    async def _begin(
        self, request: model_service_pb2.ImportModelRequest, identifier: str, key: RequestKey | None
    ) -> model_service_pb2.Model:
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
        self._imports.poke()
        return made

    async def create(
        self, request: model_service_pb2.CreateModelRequest, key: RequestKey | None
    ) -> model_service_pb2.Model:
        """A model that waits for its bytes. ALREADY_EXISTS."""
        _check_file_name("file_name", request.file_name)
        name = _name_for(request.model_id, request.file_name)
        model = model_service_pb2.Model(
            name=name,
            display_name=request.display_name or names.model_id(name),
            family=request.family,
            architecture=request.architecture,
            source=request.file_name,
            size_bytes=request.size_bytes,
            labels=request.labels,
        )
        file = event_pb2.StoredFile(
            path=request.file_name,
            key=f"{self._imports.new_prefix(name)}{RECEIVED}{request.file_name}",
            size_bytes=request.size_bytes,
            sha256=request.sha256,
        )
        return await self._uploads.create(model, file, request=key)

    async def go_on(
        self, place: model_service_pb2.ModelUploadPlace, chunks: AsyncIterator[bytes]
    ) -> model_service_pb2.Model:
        """See `ModelUploads.receive`."""
        return await self._uploads.receive(place.name, offset=place.offset, chunks=chunks)

    async def receive(
        self, header: model_service_pb2.ModelUploadHeader, chunks: AsyncIterator[bytes]
    ) -> model_service_pb2.Model:
        """An IMPORTING model from one file, or the files of a ZIP. ALREADY_EXISTS, CHECKSUM_MISMATCH."""
        _check_file_name("header.file_name", header.file_name)
        name = _name_for(header.model_id, header.file_name)
        if await self._repository.exists(name):
            raise already_exists(name)
        prefix = f"{self._imports.new_prefix(name)}{RECEIVED}"
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
                state=model_service_pb2.MODEL_STATE_IMPORTING,
                source=header.file_name,
                size_bytes=stored.size_bytes,
            )
            made = await self._repository.create(model, stored.as_source(model))
        except BaseException:
            await asyncio.shield(in_store(self._store.delete_prefix, prefix))
            raise
        self._imports.poke()
        return made

    async def get(self, name: str) -> model_service_pb2.Model:
        """One model, with what was received so far. MODEL_NOT_FOUND."""
        return await self._uploads.described(await self._repository.get(name))

    async def list(
        self, request: model_service_pb2.ListModelsRequest
    ) -> tuple[Sequence[model_service_pb2.Model], str]:
        """A page of models, newest first, and the next page's token. INVALID_PAGE_TOKEN."""
        models, token = await self._repository.list(
            family=request.family, page_size=request.page_size, page_token=request.page_token
        )
        return [await self._uploads.described(model) for model in models], token

    async def delete(self, name: str) -> None:
        """Forget a model. MODEL_NOT_FOUND; MODEL_IN_USE while a job that waits or runs uses it."""
        record = await self._repository.record(name)
        await self._repository.delete(name)
        if record.is_uploading:
            await self._uploads.abandon(record)

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


def _check_file_name(field: str, name: str) -> None:
    if not _FILE_NAME.fullmatch(name):
        raise invalid(field, "must be a plain file name, such as model.safetensors")


def _name_for(identifier: str, file_name: str) -> str:
    own = f"{_id_from(Path(file_name).stem)}-{secrets.token_hex(3)}"
    return names.model_name(identifier or own)


def _id_from(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-._")[:80] or "model"
