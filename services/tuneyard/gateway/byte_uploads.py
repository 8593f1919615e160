"""Receives the bytes of one object each: durable at any size, resumable after any interruption at either end.

What the bytes are is the business of who opens the upload: a dataset's (`uploads`) or a model's
(`model_uploads`).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Generic, Protocol, TypeVar

from tuneyard.gateway.part_rests import PartRests
from tuneyard.gateway.part_writer import PartWriter
from tuneyard.gateway.store_calls import in_store
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


class UploadRecord(Protocol):
    """What the record of a dataset or a model says of its upload."""

    @property
    def name(self) -> str: ...

    @property
    def is_uploading(self) -> bool:
        """False: nothing is left to do; a client that lost the last answer asks again."""

    @property
    def key(self) -> str: ...

    @property
    def upload_id(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def part_size_bytes(self) -> int: ...

    @property
    def expected_sha256(self) -> str:
        """ "" if none was announced."""


R = TypeVar("R", bound=UploadRecord)


class UploadRecords(Protocol[R]):
    """A repository of such records."""

    async def record(self, name: str) -> R:
        """Raises that there is none."""

    async def upload_active(self, record: R) -> R:
        """Somebody works at the upload: it is not idle."""

    async def upload_restarted(self, lost: R, *, upload_id: str) -> R:
        """The upload begins again under another id, unless it has already."""


class ByteUploads(Generic[R]):
    """Takes the bytes of open uploads."""

    def __init__(
        self,
        records: UploadRecords[R],
        store: ObjectStore,
        *,
        on_object: Callable[[R, ObjectInfo], Awaitable[None]],
    ) -> None:
        """`on_object` records that the bytes of an upload are complete; it may be called twice for one."""
        self._records = records
        self._store = store
        self._on_object = on_object
        self._receiving: dict[str, asyncio.Task[object]] = {}

    async def receive(self, name: str, *, offset: int, chunks: AsyncIterator[bytes]) -> R:
        """Store chunks from `offset` on; the record, no longer uploading when the last byte is there.

        UPLOAD_OFFSET_MISMATCH with the right offset as metadata, CHECKSUM_MISMATCH where the bytes are not
        those announced: the upload then begins again. A second call takes over from one that still runs.
        """
        async with self._alone(name):
            record, received = await self.resume(name)
            if offset != received:
                raise offset_mismatch(name, received)
            if not record.is_uploading:
                return record
            size, part_size = record.size_bytes, record.part_size_bytes
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
                    return record
            return await self._complete(record)

    async def complete(self, name: str) -> R:
        """End an upload whose parts came otherwise; UPLOAD_OFFSET_MISMATCH if bytes are missing."""
        async with self._alone(name):
            record, received = await self.resume(name)
            if not record.is_uploading:
                return record
            if received != record.size_bytes:
                raise offset_mismatch(name, received)
            return await self._complete(record)

    async def abandon(self, record: R) -> None:
        """Drop the parts of what is being deleted."""
        if task := self._receiving.get(record.name):
            task.cancel()
            await asyncio.wait([task])
        if record.upload_id:
            await in_store(self._store.abort_upload, record.key, record.upload_id)

    async def resume(self, name: str) -> tuple[R, int]:
        """The record, and how many bytes are stored; an upload that the store has lost begins again.

        Whoever asks works at it: it is not idle.
        """
        record = await self._records.record(name)
        while (received := await in_store(self.received, record)) is None:
            record = await self._begin_again(record)
        return await self._records.upload_active(record), received

    async def _write_all(self, record: R, writer: PartWriter, chunks: AsyncIterator[bytes]) -> R:
        try:
            async for chunk in chunks:
                if len(chunk) > writer.room_bytes:
                    raise invalid(
                        "chunk", "goes beyond the size that was announced when the upload was opened"
                    )
                await writer.write(chunk)
                record = await self._records.upload_active(record)
        finally:
            await self._keep(record, writer)
        return record

    async def _keep(self, record: R, writer: PartWriter) -> None:
        """Sees to it that all that has arrived is in the store, as whole parts and the beginning of one."""
        await writer.flush()
        number, begun = writer.begun
        rests = self._rests(record)
        if begun:
            await in_store(rests.keep, number, begun)
        if number != writer.first_part:
            await in_store(rests.drop, writer.first_part)

    def _rests(self, record: R) -> PartRests:
        return PartRests(self._store, record.key, record.upload_id)

    def received(self, record: R) -> int | None:
        """How many bytes are stored without a gap; None where the store has neither upload nor object."""
        size = record.size_bytes
        if not record.is_uploading:
            return size
        try:
            parts = self._store.list_parts(record.key, record.upload_id)
        except UploadNotFound:
            # The bytes became the object, and the gateway died before it could say so.
            return size if self._find(record) is not None else None
        part_size = record.part_size_bytes
        whole = _without_gap(parts, size=size, part_size=part_size)
        return whole if whole == size else whole + self._rests(record).size(whole // part_size + 1)

    def _find(self, record: R) -> ObjectInfo | None:
        try:
            return self._store.stat(record.key)
        except ObjectNotFound:
            return None

    async def _complete(self, record: R) -> R:
        name = record.name
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
            raise offset_mismatch(name, 0) from None
        await self._on_object(record, info)
        with suppress(StorageError):
            # Else they go with the record.
            await in_store(self._rests(record).drop_all)
        return await self._records.record(name)

    def _make_object(self, record: R) -> ObjectInfo:
        expected = record.expected_sha256 or None
        try:
            parts = self._store.list_parts(record.key, record.upload_id)
            return self._store.complete_upload(record.key, record.upload_id, parts, sha256=expected)
        except UploadNotFound:
            if (info := self._find(record)) is None:
                raise
            return info

    async def _begin_again(self, record: R) -> R:
        """The record with an empty upload in place of one that is gone; of several calls the first wins."""
        upload_id = await in_store(
            self._store.create_upload,
            record.key,
            part_size_bytes=record.part_size_bytes,
        )
        current = record
        try:
            current = await self._records.upload_restarted(record, upload_id=upload_id)
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


def _without_gap(parts: Sequence[UploadPart], *, size: int, part_size: int) -> int:
    received = 0
    for expected, part in enumerate(parts, start=1):
        if part.number != expected or part.size_bytes != min(part_size, size - received):
            break
        received += part.size_bytes
    return received


def offset_mismatch(name: str, received: int) -> TuneyardError:
    """The error for a call that does not go on where the stored bytes end."""
    return TuneyardError(
        "UPLOAD_OFFSET_MISMATCH",
        f"{name} has received {received} bytes: go on from there",
        metadata={"offset": str(received)},
        resource=name,
    )
