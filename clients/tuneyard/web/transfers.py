"""The bytes that no JSON carries: datasets and models by raw PUT, artifacts with ranges or as a ZIP."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Final
from urllib.parse import quote

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from tuneyard.client import AsyncClient, errors
from tuneyard.v1.dataset_service_pb2 import UploadDatasetResponse
from tuneyard.v1.model_service_pb2 import ModelUploadHeader, UploadModelResponse
from tuneyard.web import problems
from tuneyard.web.http_rules import BadRequest, read_query

_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})?/(\d{1,18}|\*)")
_RANGE: Final = re.compile(r"bytes=(\d{1,18})-(\d{1,18})?")
_LONGEST_NUMBER: Final = 18
"""Digits."""
_PIECE_BYTES: Final = 512 << 10
# Shown by a browser where it is opened; everything else, HTML and SVG above all, is only ever saved.
_SHOWN: Final = (
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/gif",
    "image/bmp",
    "application/json",
    "text/plain",
    "text/markdown",
)
_OF_EXTENSION: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "txt": "text/plain",
    "jsonl": "text/plain",
    "json": "application/json",
}


class Transfers:
    """Moves bytes between HTTP and the gateway."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def put_dataset(self, request: Request) -> Response:
        """PUT /v1/datasets/{dataset}:upload with `Content-Range`, or `?offset=`: what follows from there on.

        The answer holds the dataset; while it is UPLOADING, more is to come from `upload.receivedBytes` on.
        """
        name = f"datasets/{request.path_params['dataset']}"

        async def send(chunks: AsyncIterator[bytes], offset: int) -> Message:
            return UploadDatasetResponse(
                dataset=await self._client.datasets.send(name, chunks, offset=offset)
            )

        return await _put_on(request, send)

    async def put_model_on(self, request: Request) -> Response:
        """PUT /v1/models/{model}:upload, as of a dataset: of a model that POST /v1/models has created. It is
        IMPORTING when the last byte is there.
        """
        name = f"models/{request.path_params['model']}"

        async def send(chunks: AsyncIterator[bytes], offset: int) -> Message:
            return UploadModelResponse(model=await self._client.models.send(name, chunks, offset=offset))

        return await _put_on(request, send)

    async def put_model(self, request: Request) -> Response:
        """PUT /v1/models:upload with the fields of ModelUploadHeader as query: a model's file, or a ZIP of
        its files, whole. The answer holds the model, which is then IMPORTING.
        """
        try:
            header = read_query(request.query_params.multi_items(), ModelUploadHeader())
        except BadRequest as error:
            return problems.answer(problems.of_bad_request(error))
        length = request.headers.get("content-length", "")
        if length.isdecimal() and len(length) <= _LONGEST_NUMBER and not header.size_bytes:
            header.size_bytes = int(length)
        if not header.size_bytes:
            told = problems.plain(411, "Say how long the model is: Content-Length, or sizeBytes.")
            return problems.answer(told)
        try:
            model = await self._client.models.send(header, _gathered(request.stream()))
        except ClientDisconnect:
            return problems.answer(problems.plain(499, "The upload broke off; nothing of it is kept."))
        except errors.TuneyardError as error:
            return problems.answer_error(error, part="header.")
        return Response(
            MessageToJson(UploadModelResponse(model=model), indent=None), media_type="application/json"
        )

    async def get_artifact(self, request: Request) -> Response:
        """GET /v1/jobs/{job}/artifacts/{path}:download, whole or by one range; a path that ends in "/" is a
        folder, and comes as a ZIP.
        """
        job, path = f"jobs/{request.path_params['job']}", request.path_params.get("path", "")
        try:
            if not path or path.endswith("/"):
                return await self._folder(job, path)
            return await self._file(job, path, request)
        except errors.TuneyardError as error:
            return problems.answer_error(error)

    async def get_dataset_file(self, request: Request) -> Response:
        """GET /v1/datasets/{dataset}/files/{path}:download: a file as it lies in the uploaded bytes."""
        path = request.path_params["path"]
        chunks = self._client.datasets.stream_file(request.path_params["dataset"], path)
        try:
            first = await _first(chunks)
        except errors.TuneyardError as error:
            return problems.answer_error(error)
        media_type = _OF_EXTENSION.get(path.rpartition(".")[2].lower(), "application/octet-stream")
        # A dataset's bytes never change; its id may be used again, but hardly within an hour.
        headers = {"Cache-Control": "private, max-age=3600"}
        if media_type not in _SHOWN:
            headers |= _saved_as(path.rpartition("/")[2])
        return StreamingResponse(_rest(first, chunks), media_type=media_type, headers=headers)

    async def _folder(self, job: str, path: str) -> Response:
        chunks = self._client.artifacts.stream(job, path)
        first = await _first(chunks)
        name = f"{path.rstrip('/').rpartition('/')[2] or job.replace('/', '-')}.zip"
        return StreamingResponse(_rest(first, chunks), media_type="application/zip", headers=_saved_as(name))

    async def _file(self, job: str, path: str, request: Request) -> Response:
        artifact = await self._client.artifacts.get(job, path)
        size = artifact.size_bytes
        headers = {"Accept-Ranges": "bytes", "ETag": f'"{artifact.sha256}"'}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        start, stop = 0, size
        # What was begun of other bytes cannot be gone on with.
        is_same = request.headers.get("if-range", headers["ETag"]) == headers["ETag"]
        asked = _RANGE.fullmatch(request.headers.get("range", "")) if is_same else None
        if asked:
            start, stop = int(asked[1]), min(size, int(asked[2]) + 1 if asked[2] else size)
            if start >= stop:
                headers["Content-Range"] = f"bytes */{size}"
                told = problems.plain(416, f"{path} has {size} bytes.")
                return problems.answer(told, headers=headers)
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        media_type = artifact.media_type or "application/octet-stream"
        if media_type.partition(";")[0] not in _SHOWN or "download" in request.query_params:
            headers |= _saved_as(path.rpartition("/")[2])
        headers["Content-Length"] = str(stop - start)
        status = 206 if asked else 200
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers, media_type=media_type)
        chunks = self._client.artifacts.stream(job, path, offset=start)
        first = await _first(chunks)
        body = _until(_rest(first, chunks), stop - start)
        return StreamingResponse(body, status_code=status, headers=headers, media_type=media_type)


async def _put_on(
    request: Request, send: Callable[[AsyncIterator[bytes], int], Awaitable[Message]]
) -> Response:
    """Hands a body on from an offset; the answer says how far it is."""
    try:
        offset = _offset(request)
    except ValueError as error:
        return problems.answer(problems.plain(400, str(error), reason="INVALID_FIELD"))
    try:
        response = await send(_gathered(request.stream()), offset)
    except ClientDisconnect:
        return problems.answer(problems.plain(499, "The upload broke off; it can go on."))
    except errors.TuneyardError as error:
        return problems.answer_error(error)
    return Response(MessageToJson(response, indent=None), media_type="application/json")


def _offset(request: Request) -> int:
    given = request.headers.get("content-range", "")
    if given:
        found = _CONTENT_RANGE.fullmatch(given)
        if found is None:
            raise ValueError('Content-Range must look like "bytes 1000-1999/5000"')
        return int(found[1])
    text = request.query_params.get("offset", "0")
    if not text.isdecimal() or len(text) > 18:
        raise ValueError("offset must be a whole number of bytes")
    return int(text)


async def _gathered(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces of half a megabyte: a socket gives a tenth of that at once, and each piece
    costs a message to the gateway.
    """
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        if len(held) >= _PIECE_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


def _saved_as(name: str) -> dict[str, str]:
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}"}


async def _first(chunks: AsyncGenerator[bytes, None]) -> bytes:
    """The first chunk, so that an error is still an answer of its own."""
    try:
        return await anext(chunks, b"")
    except BaseException:
        await chunks.aclose()
        raise


async def _rest(first: bytes, chunks: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    async with aclosing(chunks):
        yield first
        async for chunk in chunks:
            yield chunk


async def _until(chunks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    left = size
    async for chunk in chunks:
        yield chunk[:left]
        left -= min(left, len(chunk))
        if not left:
            return
