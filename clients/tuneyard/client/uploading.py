"""Sends a file's bytes to the server, going on at what it already holds after any interruption."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from tuneyard.client import errors
from tuneyard.client.connection import ConnectionSettings, Patience
from tuneyard.client.transfer import CHUNK_BYTES, ProgressCallback, Transfer
from tuneyard.v1 import dataset_pb2


class Uploaded(Protocol):
    """A dataset or a model."""

    name: str

    @property
    def upload(self) -> dataset_pb2.Upload: ...

    @property
    def state(self) -> int: ...


T = TypeVar("T", bound=Uploaded)
T_co = TypeVar("T_co", bound=Uploaded, covariant=True)


class Receiver(Protocol[T_co]):
    """Where the bytes go: `AsyncDatasets`, `AsyncModels`."""

    async def get(self, name: str) -> T_co: ...

    async def send(self, name: str, /, chunks: AsyncIterator[bytes], *, offset: int = 0) -> T_co: ...


async def upload(
    receiver: Receiver[T],
    made: T,
    file: Path,
    *,
    uploading: int,
    settings: ConnectionSettings,
    progress: ProgressCallback | None = None,
) -> T:
    """Sends what the server lacks of the bytes of `made`; returns it once its state is not `uploading`."""
    patience = Patience(settings.patience)
    received = -1
    while made.state == uploading:
        if made.upload.received_bytes > received:
            received = made.upload.received_bytes
            patience.progressed()
        try:
            # Opened here: where a call ends early, gRPC drops the generator without closing it.
            async with _opened(file, offset=received) as source:
                made = await receiver.send(made.name, _chunks(source, progress), offset=received)
            if made.state == uploading:
                raise errors.ServerUnreachable(f"{settings.server} took only a part of {file.name}")
        except (*errors.TRANSIENT, errors.UploadOffsetMismatch) as error:
            await patience.after(error)
            made = await _current(receiver, made, patience)
    return made


async def _current(receiver: Receiver[T], made: T, patience: Patience) -> T:
    while True:
        try:
            return await receiver.get(made.name)
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


async def _chunks(source: _Source, progress: ProgressCallback | None) -> AsyncGenerator[bytes, None]:
    done = source.offset
    while chunk := await source.take():
        yield chunk
        done += len(chunk)
        if progress is not None:
            progress(Transfer(source.name, done, source.size_bytes))
