"""Sends a file's bytes to the server, going on at what it already holds after any interruption."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from tuneyard.client import errors
from tuneyard.client.connection import Connection, Patience
from tuneyard.client.transfer import CHUNK_BYTES, ProgressCallback, Transfer
from tuneyard.v1 import dataset_pb2, dataset_service_pb2
from tuneyard.v1.dataset_service_pb2 import UploadDatasetRequest, UploadHeader


async def upload(
    connection: Connection,
    dataset: dataset_pb2.Dataset,
    file: Path,
    *,
    progress: ProgressCallback | None = None,
) -> dataset_pb2.Dataset:
    """Sends what the server lacks of `dataset`'s bytes; returns the dataset once it has left UPLOADING."""
    patience = Patience(connection.settings.patience)
    received = -1
    while dataset.state == dataset_pb2.DATASET_STATE_UPLOADING:
        if dataset.upload.received_bytes > received:
            received = dataset.upload.received_bytes
            patience.progressed()
        try:
            # Opened here: where a call ends early, gRPC drops the generator without closing it.
            async with _opened(file, offset=received) as source:
                requests = _requests(dataset.name, source, progress=progress)
                answer = await connection.send(connection.datasets.UploadDataset, requests)
            dataset = answer.dataset
            if dataset.state == dataset_pb2.DATASET_STATE_UPLOADING:
                raise errors.ServerUnreachable(
                    f"{connection.settings.server} took only a part of {file.name}"
                )
        except (*errors.TRANSIENT, errors.UploadOffsetMismatch) as error:
            await patience.after(error)
            dataset = await _current(connection, dataset, patience)
    return dataset


async def _current(
    connection: Connection, dataset: dataset_pb2.Dataset, patience: Patience
) -> dataset_pb2.Dataset:
    request = dataset_service_pb2.GetDatasetRequest(name=dataset.name)
    while True:
        try:
            return (await connection.unary(connection.datasets.GetDataset, request, repeat=False)).dataset
        except errors.TRANSIENT as error:
            await patience.after(error)


class _Source:
    """A file's chunks from an offset on, each read in a thread: the next one while the last is being sent."""

    def __init__(self, file: Path, opened: BinaryIO, *, offset: int) -> None:
        self.name = file.name
        self.offset = offset
        self.size_bytes = file.stat().st_size
        self._opened = opened
        self._settled = False
        opened.seek(offset)
        self._ahead = self._read()

    async def take(self) -> bytes:
        """The next chunk; empty at the end, and once nobody is to read any more."""
        chunk = await asyncio.shield(self._ahead)
        if self._settled:
            return b""
        if chunk:
            self._ahead = self._read()
        return chunk

    async def settle(self) -> None:
        """Lets no thread read any more, so that the file can be closed. gRPC may still ask for chunks."""
        self._settled = True
        await asyncio.wait([self._ahead])
        if not self._ahead.cancelled():
            self._ahead.exception()

    def _read(self) -> "asyncio.Task[bytes]":
        return asyncio.create_task(asyncio.to_thread(self._opened.read, CHUNK_BYTES))


@asynccontextmanager
async def _opened(file: Path, *, offset: int) -> AsyncIterator[_Source]:
    with file.open("rb") as opened:
        source = _Source(file, opened, offset=offset)
        try:
            yield source
        finally:
            await source.settle()


async def _requests(
    name: str, source: _Source, *, progress: ProgressCallback | None
) -> AsyncGenerator[UploadDatasetRequest, None]:
    yield UploadDatasetRequest(header=UploadHeader(name=name, offset=source.offset))
    done = source.offset
    while chunk := await source.take():
        yield UploadDatasetRequest(chunk=chunk)
        done += len(chunk)
        if progress is not None:
            progress(Transfer(source.name, done, source.size_bytes))
