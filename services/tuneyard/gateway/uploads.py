"""Receives the bytes of datasets: durable at any size, resumable after any interruption at either end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from tuneyard.gateway.clock import utc_now
from tuneyard.gateway.datasets import DatasetRecord, DatasetRepository
from tuneyard.gateway.part_rests import PartRests
from tuneyard.gateway.part_writer import PartWriter, part_size_for
from tuneyard.gateway.requests import RequestKey
from tuneyard.gateway.store_calls import in_store, looked_up
from tuneyard.rpc.errors import TuneyardError, invalid
from tuneyard.storage import (
    ChecksumMismatch,
    ObjectInfo,
    ObjectNotFound,
    ObjectStore,
    StorageError,
    UploadNotFound,
    UploadPart,
)
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
        self._receiving: dict[str, asyncio.Task[object]] = {}

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
            received = await looked_up(self._received, record)
            dataset.upload.received_bytes = received or 0
        return dataset

    async def receive(self, name: str, *, offset: int, chunks: AsyncIterator[bytes]) -> dataset_pb2.Dataset:
        """Store chunks from `offset` on; VALIDATING when the last byte is there.

        UPLOAD_OFFSET_MISMATCH with the right offset as metadata, CHECKSUM_MISMATCH where the bytes are not
        those announced: the upload then begins again. A second call takes over from one that still runs.
        """
        async with self._alone(name):
            record, received = await self._resume(name)
            if offset != received:
                raise _offset_mismatch(name, received)
            if _has_arrived(record):
                return record.dataset
            size, part_size = record.dataset.size_bytes, record.dataset.upload.part_size_bytes
            if received < size:
                first, begun = received // part_size + 1, received % part_size
                writer = PartWriter(
                    self._store,
                    record.key,
                    record.upload_id,
                    part_size=part_size,
                    first_part=first,
                    room_bytes=size - received + begun,
                )
                if begun:
                    await writer.write(await in_store(self._rests(record).read, first))
                record = await self._write_all(record, writer, chunks)
                if writer.room_bytes:
                    return await self.described(record.dataset)
            return await self._complete(record)

    async def complete(self, name: str) -> dataset_pb2.Dataset:
        """End an upload whose parts were PUT to signed URLs; UPLOAD_OFFSET_MISMATCH if bytes are missing."""
        async with self._alone(name):
            record, received = await self._resume(name)
            if _has_arrived(record):
                return record.dataset
            if received != record.dataset.size_bytes:
                raise _offset_mismatch(name, received)
            return await self._complete(record)

    async def sign(self, name: str, numbers: Sequence[int]) -> list[SignedPart]:
        """URLs for parts; INVALID_FIELD for a part that the upload does not have."""
        record, received = await self._resume(name)
        if _has_arrived(record):
            raise _offset_mismatch(name, received)
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
                    await self.abandon(record)

    async def abandon(self, record: DatasetRecord) -> None:
        """Drop the parts of a dataset that is being deleted."""
        if task := self._receiving.get(record.dataset.name):
            task.cancel()
            await asyncio.wait([task])
        if record.upload_id:
            await in_store(self._store.abort_upload, record.key, record.upload_id)

    async def _resume(self, name: str) -> tuple[DatasetRecord, int]:
        """The dataset, and how many bytes are stored; an upload that the store has lost begins again.

        Whoever asks works at it: it is not idle.
        """
        record = await self._repository.record(name)
        while (received := await in_store(self._received, record)) is None:
            record = await self._begin_again(record)
        return await self._repository.upload_active(record), received

    async def _write_all(
        self, record: DatasetRecord, writer: PartWriter, chunks: AsyncIterator[bytes]
    ) -> DatasetRecord:
        try:
            async for chunk in chunks:
                if len(chunk) > writer.room_bytes:
                    raise invalid(
                        "chunk", "goes beyond the size that was announced when the dataset was created"
                    )
                await writer.write(chunk)
                record = await self._repository.upload_active(record)
        finally:
            await self._keep(record, writer)
        return record

    async def _keep(self, record: DatasetRecord, writer: PartWriter) -> None:
        """Sees to it that all that has arrived is in the store, as whole parts and the beginning of one."""
        await writer.flush()
        number, begun = writer.begun
        rests = self._rests(record)
        if begun:
            await in_store(rests.keep, number, begun)
        if number != writer.first_part:
            await in_store(rests.drop, writer.first_part)

    def _rests(self, record: DatasetRecord) -> PartRests:
        return PartRests(self._store, record.key, record.upload_id)

    def _received(self, record: DatasetRecord) -> int | None:
        """How many bytes are stored without a gap; None where the store has neither upload nor object."""
        size = record.dataset.size_bytes
        if _has_arrived(record):
            return size
        try:
            parts = self._store.list_parts(record.key, record.upload_id)
        except UploadNotFound:
            # The bytes became the object, and the gateway died before it could say so.
            return size if self._find(record) is not None else None
        part_size = record.dataset.upload.part_size_bytes
        whole = _without_gap(parts, size=size, part_size=part_size)
        return whole if whole == size else whole + self._rests(record).size(whole // part_size + 1)

    def _find(self, record: DatasetRecord) -> ObjectInfo | None:
        try:
            return self._store.stat(record.key)
        except ObjectNotFound:
            return None

    async def _complete(self, record: DatasetRecord) -> dataset_pb2.Dataset:
        name = record.dataset.name
        try:
            info = await in_store(self._make_object, record)
        except ChecksumMismatch:
            await self._begin_again(record)
            raise TuneyardError(
                "CHECKSUM_MISMATCH",
                "the bytes received do not have the announced SHA-256; upload them again from the start",
                metadata={"offset": "0"},
                resource=name,
            ) from None
        except UploadNotFound:
            await self._begin_again(record)
            raise _offset_mismatch(name, 0) from None
        dataset = await self._repository.bytes_arrived(name, size_bytes=info.size_bytes, sha256=info.sha256)
        self._on_arrival()
        with suppress(StorageError):
            # Else they go with the dataset.
            await in_store(self._rests(record).drop_all)
        return dataset

    def _make_object(self, record: DatasetRecord) -> ObjectInfo:
        expected = record.expected_sha256 or None
        try:
            parts = self._store.list_parts(record.key, record.upload_id)
            return self._store.complete_upload(record.key, record.upload_id, parts, sha256=expected)
        except UploadNotFound:
            if (info := self._find(record)) is None:
                raise
            return info

    async def _begin_again(self, record: DatasetRecord) -> DatasetRecord:
        """The dataset with an empty upload in place of one that is gone; of several calls the first wins."""
        upload_id = await in_store(
            self._store.create_upload,
            record.key,
            part_size_bytes=record.dataset.upload.part_size_bytes,
        )
        current = record
        try:
            current = await self._repository.upload_restarted(record, upload_id=upload_id)
        finally:
            if current.upload_id != upload_id:
                await in_store(self._store.abort_upload, record.key, upload_id)
        return current

    @asynccontextmanager
    async def _alone(self, name: str) -> AsyncIterator[None]:
        """One call at a time writes to an upload, and the newest wins: the older one's client has gone."""
        task = asyncio.current_task()
        assert task is not None
        while (earlier := self._receiving.get(name)) is not None:
            earlier.cancel()
            await asyncio.wait([earlier])
        self._receiving[name] = task
        try:
            yield
        finally:
            if self._receiving.get(name) is task:
                del self._receiving[name]


def _has_arrived(record: DatasetRecord) -> bool:
    """Whether nothing is left to do: a client that lost the last answer asks again."""
    return record.dataset.state != dataset_pb2.DATASET_STATE_UPLOADING


def _without_gap(parts: Sequence[UploadPart], *, size: int, part_size: int) -> int:
    received = 0
    for expected, part in enumerate(parts, start=1):
        if part.number != expected or part.size_bytes != min(part_size, size - received):
            break
        received += part.size_bytes
    return received


def _offset_mismatch(name: str, received: int) -> TuneyardError:
    return TuneyardError(
        "UPLOAD_OFFSET_MISMATCH",
        f"{name} has received {received} bytes: go on from there",
        metadata={"offset": str(received)},
        resource=name,
    )
