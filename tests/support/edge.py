"""A whole gateway in this process, over real sockets, with a trainer that only estimates. For fixtures."""

import asyncio
import hashlib
import io
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.rpc import status_pb2  # type: ignore[import-untyped]
from PIL import Image

from tuneyard.gateway.app import Gateway
from tuneyard.gateway.config import load_config
from tuneyard.rpc.errors import STATUS_DETAILS_KEY, TuneyardError, from_status
from tuneyard.rpc.server import RpcServer
from tuneyard.storage import FolderStore, ObjectStore
from tuneyard.v1 import (
    artifact_service_pb2_grpc,
    dataset_pb2,
    dataset_service_pb2,
    dataset_service_pb2_grpc,
    inference_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
    preview_pb2,
    system_pb2,
    system_service_pb2_grpc,
    trainer_service_pb2,
    trainer_service_pb2_grpc,
    training_pb2,
    training_service_pb2_grpc,
)

T = TypeVar("T")
PATIENCE_SECONDS = 20.0


class EstimatingTrainer(trainer_service_pb2_grpc.TrainerServiceServicer):
    """A vision trainer that answers estimates and is always busy."""

    def __init__(self) -> None:
        self.estimate = trainer_service_pb2.TrainerServiceEstimateResponse()
        self.estimate.estimate.fits = True
        self.estimate.estimate.total_steps = 30
        self.catalogue = [
            model_service_pb2.BaseModel(
                id=name,
                family=training_pb2.FAMILY_VISION,
                tasks=[training_pb2.TASK_KIND_IMAGE_CLASSIFIER],
                is_recommended=name == "resnet50",
            )
            for name in ("alexnet", "resnet18", "resnet50")
        ]
        self.disk_free_bytes = 0
        self.hangs = False
        """Whether it lets estimates wait."""
        self.previewed: list[trainer_service_pb2.TrainerServicePreviewRequest] = []
        self.conversions: list[trainer_service_pb2.ConvertModelRequest] = []
        self.convert: Callable[
            [trainer_service_pb2.ConvertModelRequest], trainer_service_pb2.ConvertModelResponse
        ] = _takes_files_as_they_are

    async def GetTrainerInfo(self, request: Any, context: Any) -> Any:
        return trainer_service_pb2.GetTrainerInfoResponse(
            trainer=system_pb2.Trainer(
                id="t1",
                family=training_pb2.FAMILY_VISION,
                health=system_pb2.TRAINER_HEALTH_READY,
                tasks=[training_pb2.TASK_KIND_IMAGE_CLASSIFIER],
                disk_free_bytes=self.disk_free_bytes,
            ),
            base_models=self.catalogue,
            boot_id="b1",
        )

    async def Estimate(self, request: Any, context: Any) -> Any:
        if self.hangs:
            await asyncio.Event().wait()
        answer = trainer_service_pb2.TrainerServiceEstimateResponse()
        answer.CopyFrom(self.estimate)
        if not answer.estimate.violations and request.spec.WhichOneof("kind") == "training":
            answer.estimate.resolved_spec.CopyFrom(request.spec)
        return answer

    async def Preview(self, request: Any, context: Any) -> Any:
        self.previewed.append(request)
        return trainer_service_pb2.TrainerServicePreviewResponse(
            preview=preview_pb2.Preview(max_length=7, row_count=3)
        )

    async def ConvertModel(self, request: Any, context: Any) -> Any:
        self.conversions.append(request)
        return self.convert(request)

    async def ListRuns(self, request: Any, context: Any) -> Any:
        return trainer_service_pb2.ListRunsResponse()

    async def StartRun(self, request: Any, context: Any) -> Any:
        raise TuneyardError("NO_FREE_SLOT", "busy")

    async def StopRun(self, request: Any, context: Any) -> Any:
        raise TuneyardError("RUN_NOT_FOUND", "nothing runs here")

    async def ReleaseRun(self, request: Any, context: Any) -> Any:
        return trainer_service_pb2.ReleaseRunResponse()

    async def WatchRun(self, request: Any, context: Any) -> None:  # type: ignore[override]
        raise TuneyardError("RUN_NOT_FOUND", "nothing runs here")

    async def Infer(self, request: Any, context: Any) -> None:  # type: ignore[override]
        raise TuneyardError("NOT_SUPPORTED", "nothing is inferred here")


def _takes_files_as_they_are(
    request: trainer_service_pb2.ConvertModelRequest,
) -> trainer_service_pb2.ConvertModelResponse:
    raise TuneyardError("NOT_SUPPORTED", "nothing is converted here")


@dataclass
class Edge:
    """A gateway and the stubs of its services."""

    gateway: Gateway
    trainer: EstimatingTrainer
    store: ObjectStore
    """The gateway's store, opened once more."""
    channel: grpc.aio.Channel
    folder: Path
    """Its data folder; `imports` in it is an allowed root."""
    training: Any = field(init=False)
    datasets: Any = field(init=False)
    models: Any = field(init=False)
    artifacts: Any = field(init=False)
    inference: Any = field(init=False)
    system: Any = field(init=False)

    def __post_init__(self) -> None:
        self.training = training_service_pb2_grpc.TrainingServiceStub(self.channel)
        self.datasets = dataset_service_pb2_grpc.DatasetServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self.artifacts = artifact_service_pb2_grpc.ArtifactServiceStub(self.channel)
        self.inference = inference_service_pb2_grpc.InferenceServiceStub(self.channel)
        self.system = system_service_pb2_grpc.SystemServiceStub(self.channel)

    async def create_dataset(self, content: bytes, **fields: Any) -> dataset_pb2.Dataset:
        """A dataset that waits for `content`."""
        values = {"format": dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER, "size_bytes": len(content)} | fields
        created = await self.datasets.CreateDataset(dataset_service_pb2.CreateDatasetRequest(**values))
        return created.dataset  # type: ignore[no-any-return]

    async def upload(
        self, name: str, content: bytes, *, offset: int = 0, chunk_bytes: int = 1 << 20
    ) -> dataset_pb2.Dataset:
        """Send content from an offset on; return what the call answers."""
        answer = await self.datasets.UploadDataset(upload_requests(name, content, offset, chunk_bytes))
        return answer.dataset  # type: ignore[no-any-return]

    async def ready_dataset(self, dataset_id: str = "shapes", content: bytes | None = None) -> str:
        """Upload an image folder and wait until it is judged; return its name."""
        content = image_folder() if content is None else content
        created = await self.create_dataset(content, dataset_id=dataset_id)
        await self.upload(created.name, content)
        await self.settled(created.name)
        return created.name

    async def settled(self, name: str) -> dataset_pb2.Dataset:
        """Wait until a dataset is READY or INVALID."""

        async def look() -> dataset_pb2.Dataset | None:
            answer = await self.datasets.GetDataset(dataset_service_pb2.GetDatasetRequest(name=name))
            is_settled = answer.dataset.state in (
                dataset_pb2.DATASET_STATE_READY,
                dataset_pb2.DATASET_STATE_INVALID,
            )
            return answer.dataset if is_settled else None

        return await eventually(look)


@asynccontextmanager
async def running_edge(folder: Path, **variables: str) -> AsyncIterator[Edge]:
    """A gateway on a SQLite file and a folder store below `folder`, and one vision trainer."""
    (folder / "imports").mkdir(parents=True, exist_ok=True)
    trainer, server = EstimatingTrainer(), RpcServer(listen="127.0.0.1:0")
    trainer_service_pb2_grpc.add_TrainerServiceServicer_to_server(trainer, server.grpc)
    address = await server.start(["tuneyard.v1.TrainerService"])
    environment = {
        "TUNEYARD_LISTEN": "127.0.0.1:0",
        "TUNEYARD_BLOB_LISTEN": "127.0.0.1:0",
        "TUNEYARD_DATA_DIR": str(folder),
        "TUNEYARD_IMPORT_ROOTS": str(folder / "imports"),
        "TUNEYARD_TRAINERS": f"vision={address}",
    }
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.grpc.stop, None)
        gateway = await Gateway.start(load_config(environment | variables), stack)
        background = asyncio.create_task(gateway.run())
        channel = grpc.aio.insecure_channel(gateway.address)
        try:
            yield Edge(gateway, trainer, FolderStore(folder / "store", public_url=""), channel, folder)
        finally:
            await channel.close()
            await gateway.stop()
            background.cancel()
            await asyncio.wait([background])


async def refusal(call: Awaitable[Any]) -> TuneyardError:
    """The typed error that a call ends with."""
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        details = {key: value for key, value in error.trailing_metadata() or ()}.get(STATUS_DETAILS_KEY)
        typed = from_status(status_pb2.Status.FromString(details)) if details else None
        assert typed is not None, f"an untyped error: {error.code()}: {error.details()}"
        assert typed.code is error.code()
        return typed
    raise AssertionError("the call was not refused")


async def eventually(look: Callable[[], Awaitable[T | None]]) -> T:
    """What `look` returns once it is not None; it is asked again until a deadline."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (found := await look()) is None:
            await asyncio.sleep(0.02)
    return found


def upload_requests(
    name: str, content: bytes, offset: int = 0, chunk_bytes: int = 1 << 20
) -> Iterator[dataset_service_pb2.UploadDatasetRequest]:
    """The messages of an upload call: content from an offset on."""
    header = dataset_service_pb2.UploadHeader(name=name, offset=offset)
    yield dataset_service_pb2.UploadDatasetRequest(header=header)
    for start in range(offset, len(content), chunk_bytes):
        yield dataset_service_pb2.UploadDatasetRequest(chunk=content[start : start + chunk_bytes])


def image_folder(*, per_class: int = 12, classes: tuple[str, ...] = ("red", "green", "blue")) -> bytes:
    """A small, sound image-folder ZIP."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for number, name in enumerate(classes):
            for index in range(per_class):
                image = Image.new("RGB", (24, 24), (number * 60 + 40, index * 9, 90))
                image.putpixel((index % 24, number), (255, 255, 255))
                content = io.BytesIO()
                image.save(content, "PNG")
                archive.writestr(f"{name}/{index}.png", content.getvalue())
    return sink.getvalue()


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
