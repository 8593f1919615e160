"""Uploads whose streams break off. On SQLite and on PostgreSQL."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tuneyard.gateway.datasets import DatasetRepository
from tuneyard.gateway.db import Database
from tuneyard.gateway.uploads import DatasetUploads
from tuneyard.rpc.errors import TuneyardError
from tuneyard.storage import FolderStore, UploadPart
from tuneyard.v1 import dataset_pb2

NAME, PART = "datasets/d", 8 << 20
CONTENT = b"0123456789abcdef" * (2 * PART // 16) + b"the end"


class SlowStore(FolderStore):
    """A folder store whose first part waits until it may be stored."""

    may_store: asyncio.Event
    waits: asyncio.Event
    loop: asyncio.AbstractEventLoop

    def put_part(self, key: str, upload_id: str, number: int, data: bytes | memoryview) -> UploadPart:
        if number == 1:
            self.loop.call_soon_threadsafe(self.waits.set)
            asyncio.run_coroutine_threadsafe(self.may_store.wait(), self.loop).result()
        return super().put_part(key, upload_id, number, data)


@pytest.fixture
async def store(tmp_path: Path) -> SlowStore:
    made = SlowStore(tmp_path / "store", public_url="")
    made.loop, made.may_store, made.waits = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    return made


@pytest.fixture
async def uploads(db: Database, store: SlowStore) -> DatasetUploads:
    opened = DatasetUploads(DatasetRepository(db), store, on_arrival=lambda: None)
    dataset = dataset_pb2.Dataset(name=NAME, size_bytes=len(CONTENT))
    digest = hashlib.sha256(CONTENT).hexdigest()
    await opened.create(dataset, key=f"{NAME}/1/data", sha256=digest, request=None)
    return opened


async def received(uploads: DatasetUploads) -> int:
    dataset = dataset_pb2.Dataset(name=NAME, state=dataset_pb2.DATASET_STATE_UPLOADING)
    return (await uploads.described(dataset)).upload.received_bytes


async def pieces(*contents: bytes) -> AsyncIterator[bytes]:
    for content in contents:
        yield content


class Line:
    """A stream of bytes that hangs once it has brought them."""

    def __init__(self, *contents: bytes) -> None:
        self._contents = contents
        self.hangs = asyncio.Event()

    async def chunks(self) -> AsyncIterator[bytes]:
        for content in self._contents:
            yield content
        self.hangs.set()
        await asyncio.Event().wait()


async def test_what_came_before_a_line_broke_is_kept(uploads: DatasetUploads) -> None:
    line = Line(CONTENT[:10], CONTENT[10:1000])
    receiving = asyncio.create_task(uploads.receive(NAME, offset=0, chunks=line.chunks()))
    await line.hangs.wait()
    receiving.cancel()
    await asyncio.wait([receiving])
    assert await received(uploads) == 1000


async def test_a_newer_call_goes_on_after_what_the_older_one_brought(uploads: DatasetUploads) -> None:
    line = Line(CONTENT[:1000])
    older = asyncio.create_task(uploads.receive(NAME, offset=0, chunks=line.chunks()))
    await line.hangs.wait()
    with pytest.raises(TuneyardError, match="UPLOAD_OFFSET_MISMATCH") as mismatch:
        await uploads.receive(NAME, offset=0, chunks=pieces(CONTENT))
    assert mismatch.value.metadata["offset"] == "1000"
    assert older.cancelled()


async def test_a_part_that_was_filled_when_the_line_broke_is_stored_whole(
    uploads: DatasetUploads, store: SlowStore
) -> None:
    line = Line(CONTENT[: 2 * PART])
    receiving = asyncio.create_task(uploads.receive(NAME, offset=0, chunks=line.chunks()))
    await store.waits.wait()
    # The second part is full by now, and waits for the first to be stored.
    receiving.cancel()
    store.may_store.set()
    await asyncio.wait([receiving])
    assert await received(uploads) == 2 * PART
    done = await uploads.receive(NAME, offset=2 * PART, chunks=pieces(CONTENT[2 * PART :]))
    assert done.state == dataset_pb2.DATASET_STATE_VALIDATING
