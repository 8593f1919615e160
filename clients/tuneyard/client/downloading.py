"""Fetches artifacts into files: resumed after any interruption, checked by SHA-256, and never half there."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path, PurePosixPath

from tuneyard.client import errors
from tuneyard.client.connection import Connection, Patience
from tuneyard.client.transfer import ProgressCallback, Transfer, sha256_of
from tuneyard.v1 import artifact_service_pb2, event_pb2


def target_path(folder: Path, path: str) -> Path:
    """Where an artifact's file goes below `folder`; Corrupt for a path that would leave it."""
    parts = PurePosixPath(path).parts
    if not parts or PurePosixPath(path).is_absolute() or ".." in parts or "\\" in path:
        raise errors.Corrupt(f"the server names an artifact {path!r}, which is not a path below a folder")
    return folder.joinpath(*parts)


async def download(
    connection: Connection,
    artifact: event_pb2.Artifact,
    target: Path,
    *,
    progress: ProgressCallback | None = None,
) -> Path:
    """Fetches one artifact into the file `target`, unless that file is there and right already."""
    if await asyncio.to_thread(_is_whole, target, artifact):
        _tell(progress, artifact, artifact.size_bytes)
        return target
    await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
    # The hash in the name: the rest of an interrupted download is taken up by the same content only.
    part = target.with_name(f".{target.name}.{artifact.sha256[:12]}.part")
    patience = Patience(connection.settings.patience)
    for last_try in (False, True):
        await _fill(connection, artifact, part, patience=patience, progress=progress)
        if await asyncio.to_thread(_is_whole, part, artifact):
            await asyncio.to_thread(os.replace, part, target)
            return target
        # What was left of an earlier download may have been damaged since: once more, from the start.
        await asyncio.to_thread(part.unlink)
        if last_try:
            break
    raise errors.ChecksumMismatch(
        f"{artifact.path}: what arrived does not have the announced SHA-256", resource=artifact.name
    )


async def download_archive(
    connection: Connection, name: str, target: Path, *, progress: ProgressCallback | None = None
) -> Path:
    """Fetches a ZIP of all artifacts below a name. It is made on the way, so it cannot be resumed."""
    request = artifact_service_pb2.DownloadArtifactRequest(name=name)
    await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    done = 0
    try:
        with part.open("wb") as file:
            call = connection.stream(connection.artifacts.DownloadArtifact, request)
            async with aclosing(call) as responses:
                async for response in responses:
                    await asyncio.to_thread(file.write, response.chunk)
                    done += len(response.chunk)
                    if progress is not None:
                        progress(Transfer(target.name, done, 0))
        await asyncio.to_thread(os.replace, part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


async def _fill(
    connection: Connection,
    artifact: event_pb2.Artifact,
    part: Path,
    *,
    patience: Patience,
    progress: ProgressCallback | None,
) -> None:
    while True:
        done = part.stat().st_size if part.exists() else 0
        # An empty artifact has its file too, so one call is made even where no byte is missing.
        if done >= artifact.size_bytes and part.exists():
            return
        request = artifact_service_pb2.DownloadArtifactRequest(name=artifact.name, offset=done)
        try:
            async with _appending(part) as write:
                call = connection.stream(connection.artifacts.DownloadArtifact, request)
                async with aclosing(call) as responses:
                    async for response in responses:
                        await write(response.chunk)
                        done += len(response.chunk)
                        patience.progressed()
                        _tell(progress, artifact, done)
            if done < artifact.size_bytes:
                raise errors.ServerUnreachable(f"{connection.settings.server} ended the download early")
        except errors.TRANSIENT as error:
            await patience.after(error)


@asynccontextmanager
async def _appending(part: Path) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
    """Appends chunks to a file in a thread, each while the next one arrives; all are written at the end."""
    writing: asyncio.Task[int] | None = None

    async def write(chunk: bytes) -> None:
        nonlocal writing
        if writing is not None:
            await writing
        writing = asyncio.create_task(asyncio.to_thread(file.write, chunk))

    with part.open("ab") as file:
        try:
            yield write
        finally:
            # Whatever ends the download: the thread has to be done with the file before it is closed.
            if writing is not None:
                await writing


def _is_whole(path: Path, artifact: event_pb2.Artifact) -> bool:
    if not path.is_file() or path.stat().st_size != artifact.size_bytes:
        return False
    return not artifact.sha256 or sha256_of(path) == artifact.sha256


def _tell(progress: ProgressCallback | None, artifact: event_pb2.Artifact, done: int) -> None:
    if progress is not None:
        progress(Transfer(artifact.path, done, artifact.size_bytes))
