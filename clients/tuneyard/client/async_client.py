"""The asyncio client: the one implementation, which the blocking client drives from a thread."""

from collections.abc import Mapping, Sequence
from typing import Self

from tuneyard.client import names
from tuneyard.client.artifacts import AsyncArtifacts
from tuneyard.client.config import default_server, default_token
from tuneyard.client.connection import Connection, ConnectionSettings
from tuneyard.client.datasets import AsyncDatasets
from tuneyard.client.inference import AsyncInference
from tuneyard.client.jobs import AsyncJob, AsyncJobs
from tuneyard.client.models import AsyncModels
from tuneyard.client.raw import RawCalls
from tuneyard.client.words import FAMILIES, value_of
from tuneyard.v1 import system_service_pb2, training_pb2
from tuneyard.v1 import training_service_pb2 as service
from tuneyard.v1.job_pb2 import Estimate, EvaluateSpec, ExportSpec, MergeSpec
from tuneyard.v1.preview_pb2 import Preview
from tuneyard.v1.system_pb2 import Trainer


class AsyncClient:
    """A client for asyncio. Use it from one event loop: `async with AsyncClient() as client`."""

    def __init__(self, server: str | ConnectionSettings | None = None, *, token: str | None = None) -> None:
        """`server` is HOST:PORT, or all settings of the connection.

        Without one, TUNEYARD_SERVER and TUNEYARD_TOKEN are asked, then this machine.
        """
        if not isinstance(server, ConnectionSettings):
            server = ConnectionSettings(server=server or default_server(), token=token or default_token())
        self._connection = Connection(server)
        self.jobs = AsyncJobs(self._connection)
        self.datasets = AsyncDatasets(self._connection)
        self.models = AsyncModels(self._connection)
        self.artifacts = AsyncArtifacts(self._connection)
        self.inference = AsyncInference(self._connection)
        self.raw = RawCalls(self._connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; calls in flight are cancelled."""
        await self._connection.close()

    def job(self, name: str) -> AsyncJob:
        """The job of that name, without asking the server."""
        return AsyncJob(self._connection, name)

    async def train(
        self,
        spec: training_pb2.TrainingSpec,
        *,
        request_id: str = "",
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
        validate_only: bool = False,
    ) -> AsyncJob:
        """Creates a training job. A lost answer makes no second one: the call repeats its request id."""
        request = service.TrainRequest(
            spec=spec,
            request_id=request_id or names.new_request_id(),
            labels=labels,
            priority=priority,
            validate_only=validate_only,
        )
        job = (await self._connection.unary(self._connection.training.Train, request)).job
        return AsyncJob(self._connection, job.name, job)

    async def merge(
        self,
        spec: MergeSpec,
        *,
        request_id: str = "",
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
    ) -> AsyncJob:
        """Creates a job that merges a finished job's adapter into its base model."""
        request = service.MergeRequest(
            spec=spec, request_id=request_id or names.new_request_id(), labels=labels, priority=priority
        )
        job = (await self._connection.unary(self._connection.training.Merge, request)).job
        return AsyncJob(self._connection, job.name, job)

    async def export(
        self,
        spec: ExportSpec,
        *,
        request_id: str = "",
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
    ) -> AsyncJob:
        """Creates a job that converts a finished job's model to another format."""
        request = service.ExportRequest(
            spec=spec, request_id=request_id or names.new_request_id(), labels=labels, priority=priority
        )
        job = (await self._connection.unary(self._connection.training.Export, request)).job
        return AsyncJob(self._connection, job.name, job)

    async def evaluate(
        self,
        spec: EvaluateSpec,
        *,
        request_id: str = "",
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
    ) -> AsyncJob:
        """Creates a job that measures a finished job's model on held-out data."""
        request = service.EvaluateRequest(
            spec=spec, request_id=request_id or names.new_request_id(), labels=labels, priority=priority
        )
        job = (await self._connection.unary(self._connection.training.Evaluate, request)).job
        return AsyncJob(self._connection, job.name, job)

    async def estimate(self, spec: training_pb2.TrainingSpec) -> Estimate:
        """What a training job would need; everything that is wrong is in the answer. Creates nothing."""
        request = service.EstimateRequest(spec=spec)
        return (await self._connection.unary(self._connection.training.Estimate, request)).estimate

    async def preview(
        self, spec: training_pb2.TrainingSpec, *, split: str = "train", first_row: int = 0, max_rows: int = 10
    ) -> Preview:
        """What a fine-tuning would train on in tokens: some rows, and numbers about all. Creates nothing."""
        request = service.PreviewRequest(spec=spec, split=split, first_row=first_row, max_rows=max_rows)
        # A tokenizer may have to be fetched first.
        within = self._connection.settings.inference_timeout
        method = self._connection.training.Preview
        return (await self._connection.unary(method, request, timeout=within)).preview

    async def trainers(
        self, *, family: "str | training_pb2.Family.ValueType" = training_pb2.FAMILY_UNSPECIFIED
    ) -> Sequence[Trainer]:
        """The configured trainers with their health and devices."""
        request = system_service_pb2.ListTrainersRequest(family=value_of(family, FAMILIES))
        return (await self._connection.unary(self._connection.system.ListTrainers, request)).trainers

    async def server_info(self) -> system_service_pb2.GetServerInfoResponse:
        """The release, the store and the database of the server."""
        request = system_service_pb2.GetServerInfoRequest()
        return await self._connection.unary(self._connection.system.GetServerInfo, request)
