"""Every public RPC is in both clients, and both clients have the same methods."""

import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from pathlib import Path
from typing import Any

import grpc
import pytest

import tuneyard.client
from tests.support.fake_gateway import PUBLIC_SERVICES, FakeGateway, FakeJob
from tuneyard.client import AsyncClient, AsyncJob, Client, Job, TrainingSpec
from tuneyard.v1 import dataset_pb2, job_pb2, training_pb2
from tuneyard.v1.dataset_service_pb2 import CreateDatasetRequest, CreateDatasetResponse, UploadDatasetResponse
from tuneyard.v1.inference_service_pb2 import (
    ClassifyRequest,
    DetectRequest,
    GenerateImagesRequest,
    GenerateTextRequest,
)
from tuneyard.v1.model_service_pb2 import (
    MODEL_STATE_IMPORTING,
    MODEL_STATE_UPLOADING,
    CreateModelRequest,
    CreateModelResponse,
    Model,
    UploadModelResponse,
)
from tuneyard.v1.training_service_pb2 import WatchJobsResponse

FORMAT = dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER
VISION = training_pb2.FAMILY_VISION

# For each RPC, the call of the client that makes it. A client is any of the two.
CALLS: dict[str, Callable[[Any, Path], Any]] = {
    "Train": lambda client, file: client.train(TrainingSpec()),
    "Merge": lambda client, file: client.merge(job_pb2.MergeSpec()),
    "Export": lambda client, file: client.export(job_pb2.ExportSpec()),
    "Evaluate": lambda client, file: client.evaluate(job_pb2.EvaluateSpec()),
    "Estimate": lambda client, file: client.estimate(TrainingSpec()),
    "Preview": lambda client, file: client.preview(TrainingSpec()),
    "GetJob": lambda client, file: client.jobs.get("1"),
    "ListJobs": lambda client, file: client.jobs.list(),
    "CancelJob": lambda client, file: client.job("1").cancel(),
    "PauseJob": lambda client, file: client.job("1").pause(),
    "ResumeJob": lambda client, file: client.job("1").resume(),
    "RerunJob": lambda client, file: client.job("1").rerun(),
    "DeleteJob": lambda client, file: client.job("1").delete(),
    "WatchJob": lambda client, file: client.job("1").watch(),
    "WatchJobs": lambda client, file: client.jobs.watch(),
    "GetJobMetrics": lambda client, file: client.job("1").metrics(),
    "ListCheckpoints": lambda client, file: client.job("1").checkpoints(),
    "ListJobEvents": lambda client, file: client.jobs.events("1", kinds=["log"]),
    "CreateDataset": lambda client, file: client.datasets.create(CreateDatasetRequest()),
    "UploadDataset": lambda client, file: client.datasets.upload(file, format=FORMAT, name="d"),
    "SignDatasetUpload": lambda client, file: client.datasets.sign_upload("d", part_numbers=[1]),
    "CompleteDatasetUpload": lambda client, file: client.datasets.complete_upload("d"),
    "ImportDataset": lambda client, file: client.datasets.import_("s3://b/k", format=FORMAT),
    "CreateDatasetVersion": lambda client, file: client.datasets.without("d", paths=["a.png"]),
    "ListDatasetFiles": lambda client, file: client.datasets.files("d"),
    "DownloadDatasetFile": lambda client, file: client.datasets.stream_file("d", "a.png"),
    "ReadDatasetLines": lambda client, file: client.datasets.read_lines("d"),
    "GetDataset": lambda client, file: client.datasets.get("d"),
    "ListDatasets": lambda client, file: client.datasets.list(),
    "DeleteDataset": lambda client, file: client.datasets.delete("d"),
    "ListBaseModels": lambda client, file: client.models.base_models(),
    "ImportModel": lambda client, file: client.models.import_("org/model", family=VISION),
    "CreateModel": lambda client, file: client.models.create(CreateModelRequest()),
    "UploadModel": lambda client, file: client.models.upload(file, family=VISION),
    "GetModel": lambda client, file: client.models.get("m"),
    "ListModels": lambda client, file: client.models.list(),
    "DeleteModel": lambda client, file: client.models.delete("m"),
    "ListArtifacts": lambda client, file: client.job("1").artifacts(),
    "DownloadArtifact": lambda client, file: client.artifacts.read("1", "model.safetensors"),
    "CreateDownload": lambda client, file: client.artifacts.create_download("1", "model.safetensors"),
    "Classify": lambda client, file: client.inference.classify(ClassifyRequest()),
    "Detect": lambda client, file: client.inference.detect(DetectRequest()),
    "GenerateText": lambda client, file: client.inference.generate_text(GenerateTextRequest()),
    "GenerateImages": lambda client, file: client.inference.generate_images(GenerateImagesRequest()),
    "ListTrainers": lambda client, file: client.trainers(),
    "GetServerInfo": lambda client, file: client.server_info(),
}


def _take_upload(requests: Iterable[Any], context: grpc.ServicerContext) -> UploadDatasetResponse:
    assert b"".join(request.chunk for request in requests) == b"bytes"
    return UploadDatasetResponse(dataset=dataset_pb2.Dataset(state=dataset_pb2.DATASET_STATE_READY))


@pytest.fixture
def file(tmp_path: Path, gateway: FakeGateway) -> Path:
    FakeJob("jobs/1").serve(gateway)
    created = dataset_pb2.Dataset(
        name="datasets/d", state=dataset_pb2.DATASET_STATE_UPLOADING, upload=dataset_pb2.Upload()
    )
    gateway.answer("CreateDataset", CreateDatasetResponse(dataset=created))
    gateway.on("UploadDataset", _take_upload)
    waiting = Model(name="models/m", state=MODEL_STATE_UPLOADING)
    gateway.answer("CreateModel", CreateModelResponse(model=waiting))
    arrived = Model(name="models/m", state=MODEL_STATE_IMPORTING)
    gateway.answer("UploadModel", UploadModelResponse(model=arrived))
    gateway.on("WatchJobs", lambda request, context: iter([WatchJobsResponse()]))
    path = tmp_path / "data.zip"
    path.write_bytes(b"bytes")
    return path


def test_the_table_names_exactly_the_public_rpcs() -> None:
    assert set(CALLS) == {method.name for service in PUBLIC_SERVICES for method in service.methods}


@pytest.mark.parametrize("rpc", CALLS)
def test_the_blocking_client_makes_every_call(
    gateway: FakeGateway, client: Client, file: Path, rpc: str
) -> None:
    result = CALLS[rpc](client, file)
    if isinstance(result, Generator):
        next(result, None)
        result.close()
    assert gateway.calls[rpc] == 1


@pytest.mark.parametrize("rpc", CALLS)
async def test_the_asyncio_client_makes_every_call(
    gateway: FakeGateway, async_client: AsyncClient, file: Path, rpc: str
) -> None:
    result = CALLS[rpc](async_client, file)
    if isinstance(result, Coroutine):
        await result
    else:
        assert isinstance(result, AsyncGenerator)
        await anext(result, None)
        await result.aclose()
    assert gateway.calls[rpc] == 1


def _surface(value: object) -> dict[str, list[str]]:
    methods = inspect.getmembers(type(value), callable)
    return {
        name: list(inspect.signature(method).parameters)
        for name, method in methods
        if not name.startswith("_")
    }


def test_both_clients_have_the_same_methods_with_the_same_parameters(
    client: Client, async_client: AsyncClient
) -> None:
    assert _surface(client) == _surface(async_client)
    for collection in ("jobs", "datasets", "models", "artifacts", "inference"):
        assert _surface(getattr(client, collection)) == _surface(getattr(async_client, collection))
    blocking, asynchronous = client.job("1"), async_client.job("1")
    assert isinstance(blocking, Job)
    assert isinstance(asynchronous, AsyncJob)
    assert _surface(blocking) == _surface(asynchronous)


def test_the_exports_are_the_documented_ones() -> None:
    assert all(hasattr(tuneyard.client, name) for name in tuneyard.client.__all__)
    assert {"Client", "AsyncClient", "TuneyardError", "ServerUnreachable"} <= set(tuneyard.client.__all__)
