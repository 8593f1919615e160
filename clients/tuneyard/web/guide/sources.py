"""Where the guide's clients say their data are: names of the store, uploads' paths, folders of the server."""

import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from typing import Final

from starlette.datastructures import UploadFile

from tuneyard.client import AsyncClient, errors, names
from tuneyard.client.errors import InvalidField, Violation
from tuneyard.client.words import DATASET_FORMATS
from tuneyard.v1 import dataset_pb2, dataset_service_pb2
from tuneyard.web.guide.own_names import naming, told_as
from tuneyard.web.guide.specs import FORMATS

_CHUNK_BYTES: Final = 1 << 20
_LISTED: Final = 5
_STATUS: Final = {
    dataset_pb2.DATASET_STATE_UPLOADING: "uploading",
    dataset_pb2.DATASET_STATE_VALIDATING: "validating",
    dataset_pb2.DATASET_STATE_READY: "ready",
    dataset_pb2.DATASET_STATE_INVALID: "invalid",
}


async def dataset_name(client: AsyncClient, path: str, *, format: str, request_id: str = "") -> str:
    """The dataset that a `dataset_path` names; a folder of the server is imported first.

    Raises what the server answers, InvalidField where the path can be nothing. With a `request_id` the same
    folder is imported once.
    """
    return await stored_name(client, path) or await import_folder(
        client, path, format=format, request_id=request_id
    )


async def stored_name(client: AsyncClient, path: str) -> str:
    """The stored dataset that a `dataset_path` names by its id or title; "" where it can only be a folder.

    "my-set", "datasets/my-set" and "/datasets/my-set" mean the same.
    """
    found = re.fullmatch(r"/?(?:datasets/)?([^/]+)/?", path)
    named = await client.datasets.named(found[1], of_use=True) if found else []
    if found and len(named) > 1:
        listed = ", ".join(each.name for each in named[:_LISTED])
        raise _invalid("dataset_path", f"{found[1]!r} is the title of {listed}: name one of them")
    if named:
        return named[0].name
    if path.startswith("/"):
        return ""
    if found:
        raise _invalid("dataset_path", f"there is no dataset {found[1]!r} in the store")
    raise _invalid("dataset_path", f"{path!r} is neither a dataset's name nor a folder's path")


async def import_folder(client: AsyncClient, path: str, *, format: str, request_id: str = "") -> str:
    """The dataset that a folder of the server becomes."""
    title = PurePosixPath(path).name
    try:
        with told_as(naming({"source": "dataset_path", "display_name": "dataset_path"})):
            imported = await client.datasets.import_(
                path, format=format, display_name=title, request_id=request_id
            )
    except errors.SourceNotAllowed as error:
        raise _invalid(
            "dataset_path", f"no dataset of the store is called so, and {error.message}"
        ) from error
    return imported.name


async def upload(
    client: AsyncClient,
    file: UploadFile,
    *,
    format: str,
    name: str = "",
    field: str = "file",
    request_id: str = "",
) -> dataset_pb2.Dataset:
    """Stores a form's file as a dataset, and waits until it is checked; InvalidField where it is refused.

    A dataset of that name that was refused gives way: who mends a file sends it under the same name. Where
    the name is no id, or there is none, one is made from it or from the file's: jobs are called after it,
    and the same file is the same dataset. With a `request_id` it is stored once under any name.
    """
    if not file.size:
        raise _invalid(field, "is empty")
    request = dataset_service_pb2.CreateDatasetRequest(
        dataset_id=name if names.is_id(name) else names.id_after(name or file.filename or ""),
        display_name=name or file.filename or "upload",
        format=DATASET_FORMATS[format],
        size_bytes=file.size or 0,
        request_id=request_id or names.new_request_id(),
        file_name=(file.filename or "")[:1000],
    )
    # A form without a name has that of its file.
    own = naming({"dataset_id": "name", "display_name": "name" if name else field, "size_bytes": field})
    try:
        with told_as(own):
            dataset = await client.datasets.create(request)
    except errors.AlreadyExists:
        existing = await client.datasets.get(request.dataset_id)
        if request.dataset_id == name:
            if existing.state != dataset_pb2.DATASET_STATE_INVALID:
                raise
            await client.datasets.delete(name)
        elif await _is_same(existing, request, file):
            return existing
        else:
            # Another one was called so before. The same call that comes again is to ask for the same id.
            request.dataset_id += f"-{request.request_id[:6]}"
            request.request_id += f"/{request.dataset_id}"
        dataset = await client.datasets.create(request)
    if dataset.state == dataset_pb2.DATASET_STATE_UPLOADING:
        received = dataset.upload.received_bytes
        await file.seek(received)
        await client.datasets.send(dataset.name, _chunks(file), offset=received)
    return await checked(client, dataset.name, field=field)


async def _is_same(
    existing: dataset_pb2.Dataset, wanted: dataset_service_pb2.CreateDatasetRequest, file: UploadFile
) -> bool:
    """Whether a usable dataset was made of these very bytes."""
    if existing.state != dataset_pb2.DATASET_STATE_READY:
        return False
    if (existing.format, existing.size_bytes) != (wanted.format, wanted.size_bytes):
        return False
    digest = hashlib.sha256()
    async for chunk in _chunks(file):
        digest.update(chunk)
    await file.seek(0)
    return digest.hexdigest() == existing.sha256


async def checked(client: AsyncClient, name: str, *, field: str) -> dataset_pb2.Dataset:
    """The dataset once it is checked; InvalidField with its first findings where it cannot be used."""
    try:
        return await client.datasets.wait_ready(name)
    except errors.DatasetInvalid as error:
        dataset = await client.datasets.get(name)
        serious = [
            finding for finding in dataset.report.findings if finding.severity == dataset_pb2.SEVERITY_ERROR
        ][:_LISTED]
        violations = [
            Violation(field, f"{finding.path}: {finding.message}".lstrip(": ")) for finding in serious
        ]
        raise InvalidField(error.message, reason="DATASET_INVALID", violations=violations) from error


async def _chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(_CHUNK_BYTES):
        yield chunk


def format_of(type: str) -> str:
    """The dataset format of an upload's `type`: a model type or a format's name."""
    word = type.replace("_", "-")
    if word in DATASET_FORMATS:
        return word
    if type in FORMATS:
        return FORMATS[type]
    raise _invalid("type", f"{type!r} is none of {', '.join((*FORMATS, *DATASET_FORMATS))}")


def store_key(path: str, *, field: str) -> str:
    """A place in the store: "/models/merged" is "models/merged"."""
    key = path.strip("/")
    if not key or ".." in key.split("/") or "\\" in key:
        raise _invalid(field, f"{path!r} names no place in the store")
    return key


def dataset_answer(dataset: dataset_pb2.Dataset) -> dict[str, object]:
    """A dataset as the guide's clients know it."""
    word = next((word for word, value in DATASET_FORMATS.items() if value == dataset.format), "")
    return {
        "id": dataset.name.removeprefix("datasets/"),
        "name": dataset.display_name or dataset.name.removeprefix("datasets/"),
        "type": next((type for type, format in FORMATS.items() if format == word), word),
        "size": dataset.size_bytes,
        "samples": dataset.report.samples,
        "created_at": dataset.create_time.ToJsonString(),
        "status": _STATUS.get(dataset.state, ""),
        "message": _message(dataset),
    }


def _message(dataset: dataset_pb2.Dataset) -> str:
    """Why it cannot be trained on; "" where it can."""
    match dataset.state:
        case dataset_pb2.DATASET_STATE_UPLOADING:
            received, size = dataset.upload.received_bytes, dataset.size_bytes
            return f"{received} of {size} bytes have arrived: go on with its upload, or delete it"
        case dataset_pb2.DATASET_STATE_VALIDATING:
            return "it is being checked"
        case dataset_pb2.DATASET_STATE_INVALID:
            found = ", ".join(dataset.report.counts) or "its report tells why"
            return f"it was refused: {found}; see /v1/{dataset.name}, and delete it"
    return ""


def _invalid(field: str, description: str) -> InvalidField:
    return InvalidField(
        f"{field}: {description}", reason="INVALID_FIELD", violations=[Violation(field, description)]
    )
