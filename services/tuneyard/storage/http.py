"""The folder store's HTTP listener: an ASGI app for its signed URLs, GET, HEAD and PUT, nothing else.

Every answer to a failed request is JSON: {"error": {"reason", "message"}}. There is no listing of anything.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from email.utils import format_datetime
from functools import partial
from typing import TypeVar
from urllib.parse import quote

import anyio
import anyio.from_thread
import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tuneyard.storage import errors
from tuneyard.storage.folder import FolderStore
from tuneyard.storage.http_range import RangeNotSatisfiable, requested_range
from tuneyard.storage.signing import PATH_PREFIX, SignedRequest
from tuneyard.storage.store import ObjectInfo
from tuneyard.storage.transfer import CHUNK_BYTES, ObjectReader, utc_now

# A client that sends nothing for so long holds its part's place no more.
IDLE_SECONDS = 60.0
# Received before they can be stored.
_BLOCKS_AHEAD = 4

T = TypeVar("T")

_STATUS: dict[type[errors.StorageError], int] = {
    errors.ObjectNotFound: 404,
    errors.UploadNotFound: 404,
    errors.ObjectExists: 412,
    errors.InvalidKey: 400,
    errors.InvalidPart: 400,
    errors.ChecksumMismatch: 400,
    errors.SignatureInvalid: 403,
    errors.SignatureExpired: 403,
    errors.StoreFull: 507,
    errors.StoreUnavailable: 503,
}


def blob_app(
    store: FolderStore, *, clock: Callable[[], datetime] = utc_now, idle_seconds: float = IDLE_SECONDS
) -> Starlette:
    """The app that serves `store`'s signed URLs at "/objects/…"."""

    async def serve(request: Request) -> Response:
        path = request.scope["raw_path"].decode("ascii", "replace")
        query = request.scope["query_string"].decode("ascii", "replace")
        signed = store.verify(request.method, f"{path}?{query}", now=clock())
        if request.method == "PUT":
            return await _put(store, request, signed, idle_seconds=idle_seconds)
        return await _get(store, request, signed)

    app = Starlette(
        routes=[Route(PATH_PREFIX + "{key:path}", serve, methods=["GET", "HEAD", "PUT"])],
        exception_handlers={
            errors.StorageError: _storage_error,
            HTTPException: _http_error,
            RangeNotSatisfiable: _range_error,
            TimeoutError: _idle_error,
            ClientDisconnect: _idle_error,
        },
    )
    app.router.redirect_slashes = False
    return app


async def _get(store: FolderStore, request: Request, signed: SignedRequest) -> Response:
    info = await anyio.to_thread.run_sync(store.stat, signed.key)
    headers = _headers(info, filename=signed.filename)
    wanted = requested_range(request.headers, etag=headers["etag"], size_bytes=info.size_bytes)
    offset, length = wanted or (0, info.size_bytes)
    headers["content-length"] = str(length)
    if wanted:
        headers["content-range"] = f"bytes {offset}-{offset + length - 1}/{info.size_bytes}"
    status = 206 if wanted else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    open_range = partial(store.open_range, signed.key, offset=offset, length=length)
    opened, reader = await anyio.to_thread.run_sync(open_range)
    if opened != info:
        # Replaced meanwhile: the headers would describe other bytes.
        reader.close()
        raise errors.StoreUnavailable("the object was replaced while it was requested; try again")
    return StreamingResponse(_stream(reader), status_code=status, headers=headers)


async def _stream(reader: ObjectReader) -> AsyncIterator[bytes]:
    with reader:
        while chunk := await anyio.to_thread.run_sync(next, reader, b""):
            yield chunk


async def _put(
    store: FolderStore, request: Request, signed: SignedRequest, *, idle_seconds: float
) -> Response:
    received = partial(_received, request, idle_seconds=idle_seconds)
    if signed.upload_id is not None and signed.part is not None:
        part = await received(partial(store.put_part_stream, signed.key, signed.upload_id, signed.part))
        return Response(status_code=200, headers={"etag": f'"{part.etag}"'})
    if_absent = request.headers.get("if-none-match") == "*"
    info = await received(partial(store.put, signed.key, if_absent=if_absent))
    return Response(status_code=200, headers={"etag": f'"{info.sha256}"', "x-checksum-sha256": info.sha256})


async def _received(request: Request, store: Callable[[Iterator[bytes]], T], *, idle_seconds: float) -> T:
    """Store a request's body in a thread, and receive the next blocks of it meanwhile."""
    blocks, arriving = anyio.create_memory_object_stream[bytes | Exception](_BLOCKS_AHEAD)

    async def receive() -> None:
        # Closed however it ends, so that the thread never waits for nobody.
        async with blocks:
            try:
                async for block in _gathered(request, idle_seconds=idle_seconds):
                    await blocks.send(block)
                await blocks.send(b"")
            except (TimeoutError, ClientDisconnect) as error:
                await blocks.send(error)

    def take() -> bytes:
        block = anyio.from_thread.run(arriving.receive)
        if isinstance(block, Exception):
            raise block
        return block

    outcome: T | Exception
    async with arriving, anyio.create_task_group() as group:
        group.start_soon(receive)
        try:
            outcome = await anyio.to_thread.run_sync(store, iter(take, b""))
        except Exception as error:  # passed on below: a task group would wrap it
            outcome = error
        group.cancel_scope.cancel()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


async def _gathered(request: Request, *, idle_seconds: float) -> AsyncIterator[bytes]:
    """The body in blocks: the server hands over small pieces, and each way to a thread costs time."""
    stream = request.stream()
    gathered = bytearray()
    while True:
        with anyio.fail_after(idle_seconds):
            piece = await anext(stream, None)
        if piece is None:
            break
        gathered += piece
        if len(gathered) >= CHUNK_BYTES:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


def _headers(info: ObjectInfo, *, filename: str | None) -> dict[str, str]:
    headers = {
        "accept-ranges": "bytes",
        "cache-control": "private, no-cache",
        "content-type": "application/octet-stream",
        "content-disposition": "attachment",
        "etag": f'"{info.sha256 or int(info.modified.timestamp() * 1e6)}"',
        "last-modified": format_datetime(info.modified, usegmt=True),
        "x-content-type-options": "nosniff",
    }
    if info.sha256:
        headers["x-checksum-sha256"] = info.sha256
    if filename is not None:
        headers["content-disposition"] = f"attachment; filename*=UTF-8''{quote(filename, safe='')}"
    return headers


def _answer(status: int, reason: str, message: str, *, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": {"reason": reason, "message": message}}, status, headers)


async def _storage_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.StorageError)
    return _answer(_STATUS.get(type(error), 500), error.reason, error.message)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    reason = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(error.status_code, "BAD_REQUEST")
    return _answer(error.status_code, reason, "only signed object URLs are served here", headers=headers)


async def _range_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RangeNotSatisfiable)
    headers = {"content-range": f"bytes */{error.size_bytes}"}
    return _answer(416, "RANGE_NOT_SATISFIABLE", "the range lies beyond the object's end", headers=headers)


async def _idle_error(request: Request, error: Exception) -> Response:
    return _answer(408, "REQUEST_TIMEOUT", "the body did not arrive whole; nothing was stored")
