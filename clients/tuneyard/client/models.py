"""Models: the catalogue of base models, and the models kept in the store."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from tuneyard.client import errors, names
from tuneyard.client.connection import Connection
from tuneyard.client.model_folders import is_needed, is_needed_of_pipeline
from tuneyard.client.packing import as_file
from tuneyard.client.pages import collect
from tuneyard.client.transfer import ProgressCallback, sha256_of
from tuneyard.client.uploading import upload
from tuneyard.client.words import FAMILIES, TASKS, value_of
from tuneyard.v1 import model_service_pb2, training_pb2
from tuneyard.v1.model_service_pb2 import (
    BaseModel,
    CreateModelRequest,
    Model,
    ModelUploadHeader,
    ModelUploadPlace,
    UploadModelRequest,
)

_POLL_SECONDS = 0.5
NEEDED: Final = {
    training_pb2.FAMILY_LLM: is_needed,
    training_pb2.FAMILY_DIFFUSION: is_needed_of_pipeline,
}
"""Whether a folder's model is incomplete without a file; of other families every file is sent."""


class AsyncModels:
    """The models of a server's store, by name ("models/{id}") or bare id, and what jobs can start from."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def base_models(
        self,
        *,
        family: "str | training_pb2.Family.ValueType" = training_pb2.FAMILY_UNSPECIFIED,
        task: "str | training_pb2.TaskKind.ValueType" = training_pb2.TASK_KIND_UNSPECIFIED,
    ) -> list[BaseModel]:
        """The catalogue, recommended ones first."""

        async def fetch(size: int, token: str) -> tuple[Iterable[BaseModel], str]:
            request = model_service_pb2.ListBaseModelsRequest(
                family=value_of(family, FAMILIES),
                task=value_of(task, TASKS),
                page_size=size,
                page_token=token,
            )
            page = await self._connection.unary(self._connection.models.ListBaseModels, request)
            return page.base_models, page.next_page_token

        return await collect(fetch)

    async def import_(
        self,
        source: str,
        *,
        family: "str | training_pb2.Family.ValueType",
        name: str = "",
        display_name: str = "",
        architecture: str = "",
        revision: str = "",
        labels: Mapping[str, str] | None = None,
        request_id: str = "",
    ) -> Model:
        """Brings a model into the store from a hub id or a path on the server below an allowed root."""
        request = model_service_pb2.ImportModelRequest(
            model_id=name.removeprefix("models/"),
            display_name=display_name,
            family=value_of(family, FAMILIES),
            architecture=architecture,
            source=source,
            revision=revision,
            labels=labels,
            request_id=request_id or names.new_request_id(),
        )
        return (await self._connection.unary(self._connection.models.ImportModel, request)).model

    async def upload(
        self,
        file: Path | str,
        *,
        family: "str | training_pb2.Family.ValueType",
        name: str = "",
        display_name: str = "",
        architecture: str = "",
        progress: ProgressCallback | None = None,
    ) -> Model:
        """Sends a model's file, or a folder with its files as a ZIP; it is then IMPORTING.

        Of a language or text-to-image model's folder, other forms of the same weights are not sent. A line
        that breaks costs what was not stored yet; with a `name`, what an earlier call left is taken up.
        """
        given, number = Path(file), value_of(family, FAMILIES)
        needed = NEEDED.get(number)
        wanted = partial(needed, given) if needed else _everything
        with ExitStack() as stack:
            path = await asyncio.to_thread(as_file, given, stack, wanted=wanted)
            request = CreateModelRequest(
                model_id=name.removeprefix("models/"),
                display_name=display_name,
                family=number,
                architecture=architecture,
                file_name=path.name,
                size_bytes=path.stat().st_size,
                sha256=await asyncio.to_thread(sha256_of, path),
            )
            model = await self._create_or_take_up(request)
            return await upload(
                self,
                model,
                path,
                uploading=model_service_pb2.MODEL_STATE_UPLOADING,
                settings=self._connection.settings,
                progress=progress,
            )

    async def create(self, request: CreateModelRequest) -> Model:
        """Creates a model that waits for its bytes, for callers who send these themselves."""
        asked = CreateModelRequest()
        asked.CopyFrom(request)
        asked.request_id = asked.request_id or names.new_request_id()
        return (await self._connection.unary(self._connection.models.CreateModel, asked)).model

    async def send(
        self, to: str | ModelUploadHeader, chunks: AsyncIterator[bytes], *, offset: int = 0
    ) -> Model:
        """Sends bytes of a model that is UPLOADING, which begin at `offset`; UploadOffsetMismatch where the
        server holds fewer or more. Or all those of a file or a ZIP that a header announces, of which nothing
        is kept if the call breaks off. Returns the model as it is then; nothing is repeated.
        """

        async def requests() -> AsyncIterator[UploadModelRequest]:
            if isinstance(to, str):
                yield UploadModelRequest(place=ModelUploadPlace(name=names.model(to), offset=offset))
            else:
                yield UploadModelRequest(header=to)
            async for chunk in chunks:
                if chunk:
                    yield UploadModelRequest(chunk=chunk)

        return (await self._connection.send(self._connection.models.UploadModel, requests())).model

    async def get(self, name: str) -> Model:
        """One model of the store."""
        request = model_service_pb2.GetModelRequest(name=names.model(name))
        return (await self._connection.unary(self._connection.models.GetModel, request)).model

    async def wait_ready(self, name: str, *, timeout: timedelta | None = None) -> Model:
        """Waits until the model's import has ended; ServerError with its reason where it failed."""
        try:
            async with asyncio.timeout(timeout.total_seconds() if timeout else None):
                while (model := await self.get(name)).state == model_service_pb2.MODEL_STATE_IMPORTING:
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            raise errors.DeadlineExceeded(f"{names.model(name)} is not imported yet") from error
        if model.state == model_service_pb2.MODEL_STATE_FAILED:
            raise errors.ServerError(model.error or "the import failed", resource=model.name)
        return model

    async def delete(self, name: str) -> None:
        """Deletes a model; ModelInUse while a job that waits or runs uses it."""
        request = model_service_pb2.DeleteModelRequest(name=names.model(name))
        await self._connection.unary(self._connection.models.DeleteModel, request, repeat=False)

    async def _create_or_take_up(self, request: CreateModelRequest) -> Model:
        try:
            return await self.create(request)
        except errors.AlreadyExists:
            existing = await self.get(request.model_id)
            announced = request.size_bytes, request.file_name, request.family
            is_begun = existing.state == model_service_pb2.MODEL_STATE_UPLOADING
            if not is_begun or (existing.size_bytes, existing.source, existing.family) != announced:
                raise
            return existing

    async def list(
        self,
        *,
        family: "str | training_pb2.Family.ValueType" = training_pb2.FAMILY_UNSPECIFIED,
        limit: int | None = None,
    ) -> list[Model]:
        """The models of the store, newest first; at most `limit`."""

        async def fetch(size: int, token: str) -> tuple[Iterable[Model], str]:
            request = model_service_pb2.ListModelsRequest(
                family=value_of(family, FAMILIES), page_size=size, page_token=token
            )
            page = await self._connection.unary(self._connection.models.ListModels, request)
            return page.models, page.next_page_token

        return await collect(fetch, limit=limit)


def _everything(path: Path) -> bool:
    return True
