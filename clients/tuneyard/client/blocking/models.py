"""The blocking calls about models: each runs its namesake of the asyncio client to the end."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from tuneyard.client.models import AsyncModels
from tuneyard.client.portal import Portal
from tuneyard.client.transfer import ProgressCallback, in_turn
from tuneyard.v1 import model_service_pb2, training_pb2


class Models:
    """The models of a server. See `AsyncModels`."""

    def __init__(self, models: AsyncModels, portal: Portal) -> None:
        self._models = models
        self._portal = portal

    def base_models(
        self,
        *,
        family: "str | training_pb2.Family.ValueType" = training_pb2.FAMILY_UNSPECIFIED,
        task: "str | training_pb2.TaskKind.ValueType" = training_pb2.TASK_KIND_UNSPECIFIED,
    ) -> Sequence[model_service_pb2.BaseModel]:
        """The catalogue, recommended ones first."""
        return self._portal.run(self._models.base_models(family=family, task=task))

    def import_(
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
    ) -> model_service_pb2.Model:
        """Brings a model into the store from a hub id or a path on the server below an allowed root."""
        return self._portal.run(
            self._models.import_(
                source,
                family=family,
                name=name,
                display_name=display_name,
                architecture=architecture,
                revision=revision,
                labels=labels,
                request_id=request_id,
            )
        )

    def upload(
        self,
        file: Path | str,
        *,
        family: "str | training_pb2.Family.ValueType",
        name: str = "",
        display_name: str = "",
        architecture: str = "",
        progress: ProgressCallback | None = None,
    ) -> model_service_pb2.Model:
        """Sends a model's file, or a ZIP of its files."""
        return self._portal.run(
            self._models.upload(
                file,
                family=family,
                name=name,
                display_name=display_name,
                architecture=architecture,
                progress=progress,
            )
        )

    def create(self, request: model_service_pb2.CreateModelRequest) -> model_service_pb2.Model:
        """Creates a model that waits for its bytes, for callers who send these themselves."""
        return self._portal.run(self._models.create(request))

    def send(
        self, to: str | model_service_pb2.ModelUploadHeader, chunks: Iterable[bytes], *, offset: int = 0
    ) -> model_service_pb2.Model:
        """Sends bytes of a model that is UPLOADING, or all those that a header announces."""
        return self._portal.run(self._models.send(to, in_turn(chunks), offset=offset))

    def get(self, name: str) -> model_service_pb2.Model:
        """One model of the store."""
        return self._portal.run(self._models.get(name))

    def wait_ready(self, name: str, *, timeout: timedelta | None = None) -> model_service_pb2.Model:
        """Waits until the model's import has ended; ServerError with its reason where it failed."""
        return self._portal.run(self._models.wait_ready(name, timeout=timeout))

    def delete(self, name: str) -> None:
        """Deletes a model; ModelInUse while a job that waits or runs uses it."""
        self._portal.run(self._models.delete(name))

    def list(
        self,
        *,
        family: "str | training_pb2.Family.ValueType" = training_pb2.FAMILY_UNSPECIFIED,
        limit: int | None = None,
    ) -> list[model_service_pb2.Model]:
        """The models of the store, newest first; at most `limit`."""
        return self._portal.run(self._models.list(family=family, limit=limit))
