"""Opens the uploads of datasets, takes their bytes, and hands finished ones to the validation."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from tuneyard.gateway.byte_uploads import ByteUploads, offset_mismatch
from tuneyard.gateway.clock import utc_now
from tuneyard.gateway.datasets import DatasetRecord, DatasetRepository
from tuneyard.gateway.part_writer import part_size_for
from tuneyard.gateway.requests import RequestKey
from tuneyard.gateway.store_calls import in_store, looked_up
from tuneyard.rpc.errors import TuneyardError, invalid
from tuneyard.storage import ObjectInfo, ObjectStore
from tuneyard.v1 import dataset_pb2

SIGNED_FOR: Final = timedelta(hours=1)
IDLE_FOR: Final = timedelta(days=7)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class SignedPart:
    """Where one part can be PUT."""

    number: int
    url: str
    expires: datetime


class DatasetUploads:
    """Opens uploads, takes their bytes, and hands finished ones to the validation."""

    def __init__(
        self,
        repository: DatasetRepository,
        store: ObjectStore,
        *,
        on_arrival: Callable[[], None],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`on_arrival` is called when the bytes of a dataset are complete."""
        self._repository = repository
        self._store = store
        self._on_arrival = on_arrival
        self._clock = clock
        self._bytes = ByteUploads(repository, store, on_object=self._arrived)

    async def create(
        self, dataset: dataset_pb2.Dataset, *, key: str, sha256: str, request: RequestKey | None
    ) -> dataset_pb2.Dataset:
        """Open an upload for a new dataset, whose name, format and size are set."""
        if made := await self._repository.find_request(request):
            return await self.described(made)
        dataset.state = dataset_pb2.DATASET_STATE_UPLOADING
        dataset.upload.part_size_bytes = part_size = part_size_for(dataset.size_bytes)
        upload_id = await in_store(self._store.create_upload, key, part_size_bytes=part_size)
        try:
            made = await self._repository.create(
                dataset, key=key, sha256=sha256, upload_id=upload_id, request=request
            )
        except BaseException:
            await in_store(self._store.abort_upload, key, upload_id)
            raise
        if made is not dataset:
            await in_store(self._store.abort_upload, key, upload_id)
        return await self.described(made)

    async def described(self, dataset: dataset_pb2.Dataset) -> dataset_pb2.Dataset:
        """The dataset with the number of bytes that are stored for good, while it is UPLOADING."""
        if dataset.state == dataset_pb2.DATASET_STATE_UPLOADING:
            record = await self._repository.record(dataset.name)
            received = await looked_up(self._bytes.received, record)
            dataset.upload.received_bytes = received or 0
        return dataset

    async def receive(self, name: str, *, offset: int, chunks: AsyncIterator[bytes]) -> dataset_pb2.Dataset:
        """See `ByteUploads.receive`; VALIDATING when the last byte is there."""
        record = await self._bytes.receive(name, offset=offset, chunks=chunks)
        return await self.described(record.dataset)

    async def complete(self, name: str) -> dataset_pb2.Dataset:
        """End an upload whose parts were PUT to signed URLs; UPLOAD_OFFSET_MISMATCH if bytes are missing."""
        return (await self._bytes.complete(name)).dataset

    async def sign(self, name: str, numbers: Sequence[int]) -> list[SignedPart]:
        """URLs for parts; INVALID_FIELD for a part that the upload does not have."""
        record, received = await self._bytes.resume(name)
        if not record.is_uploading:
            raise offset_mismatch(name, received)
        count = -(-record.dataset.size_bytes // record.dataset.upload.part_size_bytes)
        for index, number in enumerate(numbers):
            if not 1 <= number <= count:
                raise invalid(f"part_numbers[{index}]", f"this upload has parts 1 to {count}")
        expires = self._clock() + SIGNED_FOR
        return [
            SignedPart(
                number,
                self._store.sign_part(record.key, record.upload_id, number, expires=SIGNED_FOR),
                expires,
            )
            for number in numbers
        ]

    async def delete_idle(self) -> None:
        """Delete the datasets whose uploads nobody has worked at for a week, with their parts."""
        since = self._clock() - IDLE_FOR
        for record in await self._repository.idle_uploads(since=since):
            with suppress(TuneyardError):
                if await self._repository.delete(record.dataset.name, idle_since=since):
                    log.info("idle upload deleted", dataset=record.dataset.name)
                    await self._bytes.abandon(record)

    async def abandon(self, record: DatasetRecord) -> None:
        """Drop the parts of a dataset that is being deleted."""
        await self._bytes.abandon(record)

    async def _arrived(self, record: DatasetRecord, info: ObjectInfo) -> None:
        await self._repository.bytes_arrived(record.name, size_bytes=info.size_bytes, sha256=info.sha256)
        self._on_arrival()
