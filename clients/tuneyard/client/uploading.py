"""Sends a file's bytes to the server, going on at what it already holds after any interruption."""

import asyncio
from collections.abc import AsyncGenerator
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
            with file.open("rb") as source:
                requests = _requests(dataset.name, file, source, offset=received, progress=progress)
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


async def _requests(
    name: str, file: Path, source: BinaryIO, *, offset: int, progress: ProgressCallback | None
) -> AsyncGenerator[UploadDatasetRequest, None]:
    total = file.stat().st_size
    yield UploadDatasetRequest(header=UploadHeader(name=name, offset=offset))
    source.seek(offset)
    done = offset
    # In a thread: a slow disk must not hold up the caller's event loop.
    while chunk := await asyncio.to_thread(source.read, CHUNK_BYTES):
        yield UploadDatasetRequest(chunk=chunk)
        done += len(chunk)
        if progress is not None:
            progress(Transfer(file.name, done, total))
