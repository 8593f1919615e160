"""The connection to a gateway: channel, token, timeouts, and how calls are repeated when it fails briefly.

Nothing here knows what the calls are about.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeVar

import grpc
from google.protobuf.message import Message

from tuneyard.client import errors, statuses
from tuneyard.v1.artifact_service_pb2_grpc import ArtifactServiceStub
from tuneyard.v1.dataset_service_pb2_grpc import DatasetServiceStub
from tuneyard.v1.inference_service_pb2_grpc import InferenceServiceStub
from tuneyard.v1.model_service_pb2_grpc import ModelServiceStub
from tuneyard.v1.system_service_pb2_grpc import SystemServiceStub
from tuneyard.v1.training_service_pb2_grpc import TrainingServiceStub

if TYPE_CHECKING:  # these classes are in the stubs alone
    from tuneyard.v1.artifact_service_pb2_grpc import ArtifactServiceAsyncStub
    from tuneyard.v1.dataset_service_pb2_grpc import DatasetServiceAsyncStub
    from tuneyard.v1.inference_service_pb2_grpc import InferenceServiceAsyncStub
    from tuneyard.v1.model_service_pb2_grpc import ModelServiceAsyncStub
    from tuneyard.v1.system_service_pb2_grpc import SystemServiceAsyncStub
    from tuneyard.v1.training_service_pb2_grpc import TrainingServiceAsyncStub

DEFAULT_SERVER: Final = "127.0.0.1:50051"
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Finds a dead peer under a silent stream; far above the least interval that the server tolerates.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # A gateway that restarts is back within seconds; the default waits up to two minutes between attempts.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Two clients of one process share nothing, not even a broken connection.
    ("grpc.use_local_subchannel_pool", 1),
)

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT")


@dataclass(frozen=True)
class Tls:
    """How to speak TLS. All are PEM; without `root_certificates` the system's are trusted."""

    root_certificates: bytes | None = None
    private_key: bytes | None = None
    """With `certificate_chain`, what the client shows of itself (mutual TLS)."""
    certificate_chain: bytes | None = None


@dataclass(frozen=True)
class ConnectionSettings:
    """What a client is told about its server."""

    server: str = DEFAULT_SERVER
    """HOST:PORT of the gateway."""
    token: str | None = None
    """The bearer token that comes with every call."""
    tls: Tls | None = None
    """None speaks without encryption, which is right on loopback and in private networks only."""
    timeout: timedelta = timedelta(seconds=60)
    """How long a single call may take. Streams have no limit."""
    inference_timeout: timedelta = timedelta(minutes=10)
    """How long trying a model on one batch of inputs may take; the first call loads the model."""
    retries: int = 3
    """How often a call that is safe to repeat is repeated when the server is away or busy."""
    patience: timedelta = timedelta(minutes=5)
    """How long watching, uploading and downloading go on trying without getting any further."""


class Backoff:
    """The pauses between attempts: doubling from 0.1 s to 2 s, spread so that clients do not come in step."""

    def __init__(self) -> None:
        self._attempt = 0

    def reset(self) -> None:
        """Something worked: begin again with a short pause."""
        self._attempt = 0

    async def pause(self, error: errors.TuneyardError | None = None) -> None:
        """Sleeps, as long as the server asked for where it did."""
        seconds = min(0.1 * 2**self._attempt, 2.0) * random.uniform(0.75, 1.25)
        if error is not None and error.retry_after is not None:
            seconds = max(seconds, min(error.retry_after.total_seconds(), 30.0))
        self._attempt += 1
        await asyncio.sleep(seconds)


class Patience:
    """Decides when to give up on something that keeps failing without getting any further."""

    def __init__(self, limit: timedelta) -> None:
        self._limit = limit.total_seconds()
        self._backoff = Backoff()
        self._failing_since: float | None = None

    def progressed(self) -> None:
        """It got further: the time starts anew."""
        self._failing_since = None
        self._backoff.reset()

    async def after(self, error: errors.TuneyardError) -> None:
        """Pauses before the next attempt; raises `error` when it has failed for too long."""
        now = asyncio.get_running_loop().time()
        if self._failing_since is None:
            self._failing_since = now
        if now - self._failing_since >= self._limit:
            raise error
        await self._backoff.pause(error)


class Connection:
    """One channel and the stubs on it. To be used from one event loop; opened by the first call.

    Raises Unauthenticated for a token that no call can carry.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        token = settings.token or ""
        if not (token.isascii() and token.isprintable()):
            raise errors.Unauthenticated(
                "the token holds characters that no call can carry; it must be printable ASCII",
                reason="UNAUTHENTICATED",
            )
        self.settings = settings
        self._metadata = (("authorization", f"Bearer {settings.token}"),) if settings.token else ()

    @cached_property
    def channel(self) -> grpc.aio.Channel:
        tls = self.settings.tls
        if tls is None:
            return grpc.aio.insecure_channel(self.settings.server, options=_OPTIONS)
        credentials = grpc.ssl_channel_credentials(
            tls.root_certificates, tls.private_key, tls.certificate_chain
        )
        return grpc.aio.secure_channel(self.settings.server, credentials, options=_OPTIONS)

    @cached_property
    def training(self) -> "TrainingServiceAsyncStub":
        return TrainingServiceStub(self.channel)

    @cached_property
    def datasets(self) -> "DatasetServiceAsyncStub":
        return DatasetServiceStub(self.channel)

    @cached_property
    def models(self) -> "ModelServiceAsyncStub":
        return ModelServiceStub(self.channel)

    @cached_property
    def artifacts(self) -> "ArtifactServiceAsyncStub":
        return ArtifactServiceStub(self.channel)

    @cached_property
    def inference(self) -> "InferenceServiceAsyncStub":
        return InferenceServiceStub(self.channel)

    @cached_property
    def system(self) -> "SystemServiceAsyncStub":
        return SystemServiceStub(self.channel)

    async def close(self) -> None:
        """Closes the channel; calls in flight are cancelled."""
        if "channel" in self.__dict__:
            await self.channel.close()

    async def unary(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT]",
        request: RequestT,
        *,
        repeat: bool = True,
        timeout: timedelta | None = None,
    ) -> ResponseT:
        """Makes one call. `repeat` says that twice is harmless: it reads, or carries a request id. `timeout`
        is for calls that may take longer than others.
        """
        backoff = Backoff()
        attempts = 1 + (self.settings.retries if repeat else 0)
        for attempt in range(1, attempts + 1):
            try:
                return await self._call(method, request, timeout=timeout or self.settings.timeout)
            except errors.TRANSIENT as error:
                if attempt == attempts:
                    raise
                await backoff.pause(error)
        raise AssertionError("the loop returns or raises")

    async def _call(
        self,
        method: "grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT]",
        request: RequestT,
        *,
        timeout: timedelta,
    ) -> ResponseT:
        _check_size(request)
        try:
            return await method(request, timeout=timeout.total_seconds(), metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise statuses.from_rpc(error, address=self.settings.server) from error

    async def stream(
        self, method: "grpc.aio.UnaryStreamMultiCallable[RequestT, ResponseT]", request: RequestT
    ) -> AsyncGenerator[ResponseT, None]:
        """Yields what the server streams. Close the generator: leaving it open leaves the call open."""
        _check_size(request)
        call = method(request, metadata=self._metadata)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise statuses.from_rpc(error, address=self.settings.server) from error
        finally:
            call.cancel()

    async def send(
        self,
        method: "grpc.aio.StreamUnaryMultiCallable[RequestT, ResponseT]",
        requests: AsyncIterator[RequestT],
    ) -> ResponseT:
        """Streams requests, returns the one answer. What `requests` raises ends the call, and is raised."""
        broken: Exception | None = None

        async def sent() -> AsyncIterator[RequestT]:
            nonlocal broken
            try:
                async for request in requests:
                    yield request
            except Exception as error:
                broken = error
                raise

        call = method(sent(), metadata=self._metadata)
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise statuses.from_rpc(error, address=self.settings.server) from error
        except asyncio.CancelledError:
            # gRPC cancels a call whose requests fail, and tells no more than that.
            task = asyncio.current_task()
            if broken is None or (task is not None and task.cancelling()):
                raise
            raise broken from None
        finally:
            call.cancel()


def _check_size(request: Message) -> None:
    """Raises MessageTooLarge with the numbers, where the transport would refuse without them."""
    size_bytes = request.ByteSize()
    if size_bytes > MAX_MESSAGE_BYTES:
        raise errors.MessageTooLarge(
            f"the request has {size_bytes / (1 << 20):.1f} MiB; a message has at most"
            f" {MAX_MESSAGE_BYTES >> 20} MiB",
            reason="MESSAGE_TOO_LARGE",
        )
