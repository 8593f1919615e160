"""The gateway's connections to its trainers: who they are, how they are, and the calls on them.

Knows nothing of jobs' states: the controller decides what to ask, this module carries the question.
"""

import asyncio
import builtins
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, cast

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from tuneyard.gateway.kinds import family_name
from tuneyard.rpc.errors import TuneyardError, from_status
from tuneyard.v1 import model_service_pb2, system_pb2, trainer_service_pb2, training_pb2
from tuneyard.v1.trainer_service_pb2_grpc import TrainerServiceStub

log = structlog.get_logger(__name__)

# Said by a trainer that stops, or one that does not know this gateway's token (yet): it may know its runs all
# the same, and its lease says when they are given up.
AWAY = frozenset({"TRAINER_UNAVAILABLE", "SHUTTING_DOWN", "UNAUTHENTICATED"})

ESTIMATE_WITHIN: Final = timedelta(seconds=20)
# Longer than a trainer's own limit, so that its answer arrives.
_CONVERTED_WITHIN: Final = timedelta(minutes=45)
_PREVIEWED_WITHIN: Final = timedelta(seconds=130)

_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True)
class TrainerAddress:
    """One entry of TUNEYARD_TRAINERS."""

    family: "training_pb2.Family.ValueType"
    """The family that the trainer serves."""
    target: str
    """HOST:PORT."""


@dataclass
class TrainerLink:
    """One trainer: its channel and the newest that is known of it."""

    address: TrainerAddress
    token: str = ""
    info: trainer_service_pb2.GetTrainerInfoResponse | None = None
    reachable: bool = False
    unreachable_since: float = field(default_factory=time.monotonic)
    last_seen: datetime | None = None
    problem: str = "not reached yet"
    generation: int = 0

    def __post_init__(self) -> None:
        self._channel = grpc.aio.insecure_channel(self.address.target, options=_CHANNEL_OPTIONS)
        self._stub = TrainerServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {self.token}"),) if self.token else ()

    @property
    def trainer_id(self) -> str:
        return self.info.trainer.id if self.info else ""

    @property
    def device_memory_bytes(self) -> int:
        """The memory of its largest device; 0 if unknown."""
        devices = self.info.trainer.devices if self.info else ()
        return max((device.memory_total_bytes for device in devices), default=0)

    @property
    def ready(self) -> bool:
        """Whether runs can be started now."""
        return (
            self.reachable
            and self.info is not None
            and self.info.trainer.health == system_pb2.TRAINER_HEALTH_READY
        )

    async def refresh(self, *, epoch: int = 0, timeout: float = 3.0) -> bool:
        """Asks the trainer how it is; False if out of reach. A new generation begins when it came back."""
        try:
            info = await self._stub.GetTrainerInfo(
                trainer_service_pb2.GetTrainerInfoRequest(controller_epoch=epoch),
                timeout=timeout,
                metadata=self._metadata,
            )
        except grpc.aio.AioRpcError as error:
            self._lost(error)
            return False
        came_back = not self.reachable or self.info is None or self.info.boot_id != info.boot_id
        self.info, self.reachable, self.last_seen, self.problem = info, True, datetime.now(UTC), ""
        if came_back:
            self.generation += 1
            log.info("trainer reached", trainer=info.trainer.id, address=self.address.target)
        return True

    def _lost(self, error: grpc.aio.AioRpcError) -> None:
        if self.reachable:
            self.unreachable_since = time.monotonic()
            log.warning("trainer lost", address=self.address.target, code=error.code().name)
        self.reachable = False
        denied = error.code() in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
        self.problem = (
            "it refuses this gateway's token: set the same TUNEYARD_TOKEN on both"
            if denied
            else f"no answer from {self.address.target}"
        )

    async def start_run(self, request: trainer_service_pb2.StartRunRequest) -> str:
        """Starts a run; returns its device. NO_FREE_SLOT and STALE_CONTROLLER as the trainer says."""
        async with _typed_errors():
            response = await self._stub.StartRun(request, timeout=10.0, metadata=self._metadata)
        return response.device

    async def stop_run(self, request: trainer_service_pb2.StopRunRequest) -> None:
        """Asks a run to stop; RUN_NOT_FOUND if there is none."""
        async with _typed_errors():
            await self._stub.StopRun(request, timeout=5.0, metadata=self._metadata)

    async def release_run(self, request: trainer_service_pb2.ReleaseRunRequest) -> None:
        """Lets the trainer forget a run whose end is committed."""
        async with _typed_errors():
            await self._stub.ReleaseRun(request, timeout=5.0, metadata=self._metadata)

    async def list_runs(self) -> Sequence[trainer_service_pb2.RunInfo]:
        """Returns all runs that are at work or not released."""
        async with _typed_errors():
            response = await self._stub.ListRuns(
                trainer_service_pb2.ListRunsRequest(), timeout=5.0, metadata=self._metadata
            )
        return response.runs

    async def watch_run(
        self, job: str, attempt: int, after_run_sequence: int
    ) -> AsyncGenerator[trainer_service_pb2.WatchRunResponse, None]:
        """Yields a run's records and its exit."""
        request = trainer_service_pb2.WatchRunRequest(
            job=job, attempt=attempt, after_run_sequence=after_run_sequence
        )
        call = self._stub.WatchRun(request, metadata=self._metadata)
        try:
            async with _typed_errors():
                async for response in call:
                    yield response
        finally:
            call.cancel()

    async def estimate(
        self, request: trainer_service_pb2.TrainerServiceEstimateRequest, *, timeout: float
    ) -> trainer_service_pb2.TrainerServiceEstimateResponse:
        """Resolves a spec and predicts what it needs."""
        async with _typed_errors():
            return await self._stub.Estimate(request, timeout=timeout, metadata=self._metadata)

    async def preview(
        self, request: trainer_service_pb2.TrainerServicePreviewRequest, *, timeout: float
    ) -> trainer_service_pb2.TrainerServicePreviewResponse:
        """Shows what a run would train on."""
        async with _typed_errors():
            return await self._stub.Preview(request, timeout=timeout, metadata=self._metadata)

    async def infer(
        self, request: trainer_service_pb2.InferRequest, *, timeout: float
    ) -> AsyncGenerator[trainer_service_pb2.InferResponse, None]:
        """Streams the answer of a finished model. Close it: that ends the work on the answer."""
        call = self._stub.Infer(request, timeout=timeout, metadata=self._metadata)
        try:
            async with _typed_errors():
                async for response in call:
                    yield response
        finally:
            call.cancel()

    async def convert_model(
        self, request: trainer_service_pb2.ConvertModelRequest
    ) -> trainer_service_pb2.ConvertModelResponse:
        """Has the files of a model checked and converted. BASE_MODEL_UNAVAILABLE, NOT_SUPPORTED."""
        async with _typed_errors():
            return await self._stub.ConvertModel(
                request, timeout=_CONVERTED_WITHIN.total_seconds(), metadata=self._metadata
            )

    def describe(self) -> system_pb2.Trainer:
        """Returns what people are shown of the trainer."""
        trainer = system_pb2.Trainer(family=self.address.family)
        if self.info is not None:
            trainer.CopyFrom(self.info.trainer)
        trainer.address = self.address.target
        if self.last_seen is not None:
            trainer.last_seen_time.FromDatetime(self.last_seen)
        if not self.reachable:
            trainer.health = system_pb2.TRAINER_HEALTH_UNREACHABLE
            trainer.problem = self.problem
        return trainer

    async def close(self) -> None:
        await self._channel.close()


@contextlib.asynccontextmanager
async def _typed_errors() -> AsyncIterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        typed = _typed(error)
        if typed is not None:
            raise typed from error
        raise TuneyardError("TRAINER_UNAVAILABLE", "the trainer does not answer") from error


def _typed(error: grpc.aio.AioRpcError) -> TuneyardError | None:
    try:
        status = rpc_status.from_call(cast(grpc.Call, error))
    except (ValueError, DecodeError):
        # Details that contradict the call's code, or are none at all, are not a trainer's.
        return None
    return from_status(status) if status is not None else None


class Trainers:
    """All configured trainers."""

    def __init__(
        self, addresses: Sequence[TrainerAddress], *, token: str = "", poll_seconds: float = 1.0
    ) -> None:
        self.links = [TrainerLink(address, token=token) for address in addresses]
        self.on_change: Callable[[], None] = lambda: None
        self.epoch: Callable[[], int] = lambda: 0
        self._poll_seconds = poll_seconds

    @property
    def configured_families(self) -> list["training_pb2.Family.ValueType"]:
        """Returns the families with at least one trainer in the settings, in order."""
        return sorted({link.address.family for link in self.links})

    def links_of(self, family: "training_pb2.Family.ValueType") -> Sequence[TrainerLink]:
        """Returns the links to a family's trainers; NO_TRAINER if none is configured."""
        if found := [link for link in self.links if link.address.family == family]:
            return found
        raise TuneyardError(
            "NO_TRAINER", f"no {family_name(family)} trainer is configured: add one to TUNEYARD_TRAINERS"
        )

    def list(
        self, family: "training_pb2.Family.ValueType" = training_pb2.FAMILY_UNSPECIFIED
    ) -> list[system_pb2.Trainer]:
        """Returns all trainers of a family, or all, by family and address."""
        links = [link for link in self.links if not family or link.address.family == family]
        return sorted(
            (link.describe() for link in links), key=lambda trainer: (trainer.family, trainer.address)
        )

    def base_models(
        self, family: "training_pb2.Family.ValueType" = training_pb2.FAMILY_UNSPECIFIED
    ) -> builtins.list[model_service_pb2.BaseModel]:
        """Returns the catalogues of the trainers that were reached since this gateway started."""
        models: dict[tuple[int, str], model_service_pb2.BaseModel] = {}
        for link in self.links:
            for model in link.info.base_models if link.info else ():
                if not family or model.family == family:
                    models.setdefault((model.family, model.id), model)
        return sorted(models.values(), key=lambda model: (not model.is_recommended, model.family, model.id))

    async def estimate(
        self,
        family: "training_pb2.Family.ValueType",
        request: trainer_service_pb2.TrainerServiceEstimateRequest,
        *,
        within: timedelta = ESTIMATE_WITHIN,
    ) -> trainer_service_pb2.TrainerServiceEstimateResponse:
        """Asks the trainers of the family, the largest first; of the time, each has its share at least.

        NO_TRAINER, or TRAINER_UNAVAILABLE if none answers.
        """
        links = self.links_of(family)
        deadline = time.monotonic() + within.total_seconds()
        links = sorted(links, key=lambda link: (not link.reachable, -link.device_memory_bytes))
        for untried, link in zip(range(len(links), 0, -1), links, strict=True):
            timeout = (deadline - time.monotonic()) / untried
            if not link.reachable and not await link.refresh(timeout=min(1.0, timeout)):
                continue
            try:
                return await link.estimate(request, timeout=timeout)
            except TuneyardError as error:
                if error.reason != "TRAINER_UNAVAILABLE":
                    raise
        raise TuneyardError("TRAINER_UNAVAILABLE", f"no {family_name(family)} trainer can be reached now")

    async def preview(
        self,
        family: "training_pb2.Family.ValueType",
        request: trainer_service_pb2.TrainerServicePreviewRequest,
    ) -> trainer_service_pb2.TrainerServicePreviewResponse:
        """Asks a trainer of the family that can be reached. NO_TRAINER; TRAINER_UNAVAILABLE if none can."""
        timeout = _PREVIEWED_WITHIN.total_seconds()
        return await self._reachable(family).preview(request, timeout=timeout)

    async def convert_model(
        self,
        family: "training_pb2.Family.ValueType",
        request: trainer_service_pb2.ConvertModelRequest,
    ) -> trainer_service_pb2.ConvertModelResponse:
        """Asks a trainer of the family that can be reached. NO_TRAINER; TRAINER_UNAVAILABLE if none can."""
        return await self._reachable(family).convert_model(request)

    def _reachable(self, family: "training_pb2.Family.ValueType") -> TrainerLink:
        for link in self.links_of(family):
            if link.reachable:
                return link
        raise TuneyardError("TRAINER_UNAVAILABLE", f"no {family_name(family)} trainer can be reached now")

    async def run(self) -> None:
        """Keeps the links' knowledge fresh until cancelled."""
        async with asyncio.TaskGroup() as group:
            for link in self.links:
                group.create_task(self._poll(link))

    async def _poll(self, link: TrainerLink) -> None:
        while True:
            before = (link.generation, link.reachable, link.ready)
            await link.refresh(epoch=self.epoch())
            if (link.generation, link.reachable, link.ready) != before:
                self.on_change()
            fast = not link.ready
            await asyncio.sleep(0.2 if fast else self._poll_seconds)

    async def close(self) -> None:
        for link in self.links:
            await link.close()
