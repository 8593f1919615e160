"""Opens the uploads of models, takes their bytes, and hands finished ones to the imports."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import datetime

import structlog

from tuneyard.gateway.byte_uploads import ByteUploads
from tuneyard.gateway.clock import utc_now
from tuneyard.gateway.models import ModelRecord, ModelRepository
from tuneyard.gateway.part_writer import part_size_for
from tuneyard.gateway.requests import RequestKey
from tuneyard.gateway.store_calls import in_store, looked_up
from tuneyard.gateway.uploads import IDLE_FOR
from tuneyard.rpc.errors import TuneyardError
from tuneyard.storage import ObjectInfo, ObjectStore
from tuneyard.v1 import event_pb2, model_service_pb2, trainer_service_pb2

log = structlog.get_logger(__name__)


class ModelUploads:
    """Models from their first byte to their last one."""

    def __init__(
        self,
        repository: ModelRepository,
        store: ObjectStore,
        *,
        on_arrival: Callable[[], None],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`on_arrival` is called when the bytes of a model are complete."""
        self._repository = repository
        self._store = store
        self._on_arrival = on_arrival
        self._clock = clock
        self._bytes = ByteUploads(repository, store, on_object=self._arrived)

    async def create(
        self,
        model: model_service_pb2.Model,
        file: event_pb2.StoredFile,
        *,
        request: RequestKey | None,
    ) -> model_service_pb2.Model:
        """Open an upload for a new model; `file` is what is to come. ALREADY_EXISTS."""
        if made := await self._repository.find_request(request):
            return await self.described(made)
        model.state = model_service_pb2.MODEL_STATE_UPLOADING
        model.upload.part_size_bytes = part_size = part_size_for(file.size_bytes)
        upload_id = await in_store(self._store.create_upload, file.key, part_size_bytes=part_size)
        source = trainer_service_pb2.ModelSource(name=model.name, files=[file])
        try:
            made = await self._repository.create(model, source, upload_id=upload_id, request=request)
        except BaseException:
            await in_store(self._store.abort_upload, file.key, upload_id)
            raise
        if made is not model:
            await in_store(self._store.abort_upload, file.key, upload_id)
        return await self.described(made)

    async def described(self, model: model_service_pb2.Model) -> model_service_pb2.Model:
        """The model with the number of bytes that are stored for good, while it is UPLOADING."""
        if model.state == model_service_pb2.MODEL_STATE_UPLOADING:
            record = await self._repository.record(model.name)
            received = await looked_up(self._bytes.received, record)
            model.upload.received_bytes = received or 0
        return model

    async def receive(
        self, name: str, *, offset: int, chunks: AsyncIterator[bytes]
    ) -> model_service_pb2.Model:
        """See `ByteUploads.receive`; IMPORTING when the last byte is there."""
        record = await self._bytes.receive(name, offset=offset, chunks=chunks)
        return await self.described(record.model)

    async def delete_idle(self) -> None:
        """Delete the models whose uploads nobody has worked at for a week, with their parts."""
        since = self._clock() - IDLE_FOR
        for record in await self._repository.idle_uploads(since=since):
            with suppress(TuneyardError):
                if await self._repository.delete(record.name, idle_since=since):
                    log.info("idle upload deleted", model=record.name)
                    await self.abandon(record)

    async def abandon(self, record: ModelRecord) -> None:
        """Drop the parts of a model that is being deleted."""
        await self._bytes.abandon(record)

    async def _arrived(self, record: ModelRecord, info: ObjectInfo) -> None:
        file = event_pb2.StoredFile(
            path=record.file.path, key=info.key, size_bytes=info.size_bytes, sha256=info.sha256
        )
        await self._repository.bytes_arrived(record.name, file)
        self._on_arrival()
