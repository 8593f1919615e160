"""The blocking client: the asyncio implementation, driven from a thread. Safe to share between threads."""

from collections.abc import Mapping, Sequence
from typing import Self

from tuneyard.client.async_client import AsyncClient
from tuneyard.client.blocking import Artifacts, Datasets, Inference, Jobs, Models
from tuneyard.client.connection import ConnectionSettings
from tuneyard.client.job import Job
from tuneyard.client.portal import shared_portal
from tuneyard.v1 import system_service_pb2, training_pb2
from tuneyard.v1.job_pb2 import Estimate, EvaluateSpec, ExportSpec, MergeSpec
from tuneyard.v1.preview_pb2 import Preview
from tuneyard.v1.system_pb2 import Trainer


class Client:
    """A blocking client. Close it, or use it as a context: `with Client() as client`."""

    def __init__(self, server: str | ConnectionSettings | None = None, *, token: str | None = None) -> None:
        """As for `AsyncClient`: HOST:PORT or all settings; without, what the environment says."""
        self._portal = shared_portal()
        self._client = AsyncClient(server, token=token)
        self.jobs = Jobs(self._client.jobs, self._portal)
        self.datasets = Datasets(self._client.datasets, self._portal)
        self.models = Models(self._client.models, self._portal)
        self.artifacts = Artifacts(self._client.artifacts, self._portal)
        self.inference = Inference(self._client.inference, self._portal)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls in flight are cancelled."""
        self._portal.run(self._client.close())

    def job(self, name: str) -> Job:
        """The job of that name, without asking the server."""
        return Job(self._client.job(name), self._portal)

    def train(
        self,
        spec: training_pb2.TrainingSpec,
        *,
        request_id: str = "",
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
        validate_only: bool = False,
    ) -> Job:
        """Creates a training job. A lost answer makes no second one: the call repeats its request id."""
        creating = self._client.train(
            spec, request_id=request_id, labels=labels, priority=priority, validate_only=validate_only
        )
        return Job(self._portal.run(creating), self._portal)

    def merge(
        self,
        spec: MergeSpec,
        *,
        request_id: str = "",
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
    ) -> Job:
        """Creates a job that merges a finished job's adapter into its base model."""
        creating = self._client.merge(spec, request_id=request_id, labels=labels, priority=priority)
        return Job(self._portal.run(creating), self._portal)

    def export(
        self,
        spec: ExportSpec,
        *,
        request_id: str = "",
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
    ) -> Job:
        """Creates a job that converts a finished job's model to another format."""
        creating = self._client.export(spec, request_id=request_id, labels=labels, priority=priority)
        return Job(self._portal.run(creating), self._portal)

    def evaluate(
        self,
        spec: EvaluateSpec,
        *,
        request_id: str = "",
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
    ) -> Job:
        """Creates a job that measures a finished job's model on held-out data."""
        creating = self._client.evaluate(spec, request_id=request_id, labels=labels, priority=priority)
        return Job(self._portal.run(creating), self._portal)

    def estimate(self, spec: training_pb2.TrainingSpec) -> Estimate:
        """What a training job would need; everything that is wrong is in the answer. Creates nothing."""
        return self._portal.run(self._client.estimate(spec))

    def preview(
        self, spec: training_pb2.TrainingSpec, *, split: str = "train", first_row: int = 0, max_rows: int = 10
    ) -> Preview:
        """What a fine-tuning would train on in tokens: some rows, and numbers about all. Creates nothing."""
        previewing = self._client.preview(spec, split=split, first_row=first_row, max_rows=max_rows)
        return self._portal.run(previewing)

    def trainers(
        self, *, family: "str | training_pb2.Family.ValueType" = training_pb2.FAMILY_UNSPECIFIED
    ) -> Sequence[Trainer]:
        """The configured trainers with their health and devices."""
        return self._portal.run(self._client.trainers(family=family))

    def server_info(self) -> system_service_pb2.GetServerInfoResponse:
        """The release, the store and the database of the server."""
        return self._portal.run(self._client.server_info())
