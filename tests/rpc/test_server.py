"""The server skeleton over a real socket: errors, auth, limits, health, reflection, the graceful stop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2  # type: ignore[import-untyped]
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc  # type: ignore[import-untyped]

from tuneyard.rpc.attempts import MOST_WRONG
from tuneyard.rpc.errors import STATUS_DETAILS_KEY, TuneyardError, from_status
from tuneyard.rpc.interceptors import MAX_MESSAGE_BYTES, MAX_TRANSPORT_MESSAGE_BYTES
from tuneyard.rpc.server import ListenError, RpcServer, is_loopback
from tuneyard.v1 import (
    dataset_service_pb2,
    dataset_service_pb2_grpc,
    system_service_pb2,
    system_service_pb2_grpc,
    training_service_pb2,
    training_service_pb2_grpc,
)

SERVICES = ["tuneyard.v1.SystemService", "tuneyard.v1.TrainingService", "tuneyard.v1.DatasetService"]
INFO = system_service_pb2.GetServerInfoRequest()


class System(system_service_pb2_grpc.SystemServiceServicer):
    error: Exception | None = None

    async def GetServerInfo(self, request: Any, context: Any) -> Any:
        if self.error is not None:
            raise self.error
        return system_service_pb2.GetServerInfoResponse(version="1")


class Training(training_service_pb2_grpc.TrainingServiceServicer):
    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.when_sending: Callable[[], object] = lambda: None

    async def WatchJob(self, request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            # Called when gRPC waits for what it sends.
            asyncio.get_running_loop().call_soon(self.when_sending)
            yield training_service_pb2.WatchJobResponse()
            if request.after_sequence == 1:
                raise TuneyardError("JOB_NOT_FOUND", "gone")
            await asyncio.Event().wait()
        finally:
            self.ended.set()


class Datasets(dataset_service_pb2_grpc.DatasetServiceServicer):
    async def UploadDataset(self, request_iterator: Any, context: Any) -> Any:
        async for _ in request_iterator:
            pass
        return dataset_service_pb2.UploadDatasetResponse()


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[tuple[RpcServer, System, Training, grpc.aio.Channel]]:
    server = RpcServer(listen="127.0.0.1:0", **options)
    # The methods that are not here answer UNIMPLEMENTED.
    system, training, datasets = System(), Training(), Datasets()  # type: ignore[abstract]
    system_service_pb2_grpc.add_SystemServiceServicer_to_server(system, server.grpc)
    training_service_pb2_grpc.add_TrainingServiceServicer_to_server(training, server.grpc)
    dataset_service_pb2_grpc.add_DatasetServiceServicer_to_server(datasets, server.grpc)
    address = await server.start(SERVICES)
    limits = [("grpc.max_send_message_length", -1)]
    try:
        async with grpc.aio.insecure_channel(address, options=limits) as channel:
            yield server, system, training, channel
    finally:
        await server.stop(grace=timedelta(0))


def reason(error: grpc.aio.AioRpcError) -> TuneyardError:
    details = dict(error.trailing_metadata())[STATUS_DETAILS_KEY]
    found = from_status(status_pb2.Status.FromString(details))
    assert found is not None
    return found


async def test_a_typed_error_arrives_with_its_code_and_details() -> None:
    async with serving() as (_, system, _, channel):
        system.error = TuneyardError("JOB_NOT_FOUND", "no job", resource="jobs/7")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await system_service_pb2_grpc.SystemServiceStub(channel).GetServerInfo(INFO)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert (reason(caught.value).reason, reason(caught.value).resource) == ("JOB_NOT_FOUND", "jobs/7")


async def test_an_unknown_error_is_told_by_an_id_and_nothing_else() -> None:
    async with serving() as (_, system, _, channel):
        system.error = RuntimeError("secret /srv/path")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await system_service_pb2_grpc.SystemServiceStub(channel).GetServerInfo(INFO)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert reason(caught.value).reason == "INTERNAL"
    assert "secret" not in (caught.value.details() or "")


async def test_errors_of_lower_layers_are_translated() -> None:
    async with serving(translate=lambda error: TuneyardError("STORAGE_FULL", str(error))) as parts:
        parts[1].error = OSError("no room")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await system_service_pb2_grpc.SystemServiceStub(parts[3]).GetServerInfo(INFO)
    assert reason(caught.value).reason == "STORAGE_FULL"


async def test_an_error_in_the_middle_of_a_stream_is_typed() -> None:
    async with serving() as (_, _, _, channel):
        call = training_service_pb2_grpc.TrainingServiceStub(channel).WatchJob(
            training_service_pb2.WatchJobRequest(after_sequence=1)
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            [response async for response in call]
    assert reason(caught.value).reason == "JOB_NOT_FOUND"


async def test_a_caller_who_leaves_ends_the_handler() -> None:
    async with serving() as (_, _, training, channel):
        call = training_service_pb2_grpc.TrainingServiceStub(channel).WatchJob(
            training_service_pb2.WatchJobRequest()
        )
        await call.read()
        call.cancel()
        await asyncio.wait_for(training.ended.wait(), 30)


@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer x"),), (("authorization", "secret"),)])
async def test_calls_without_the_token_are_refused(metadata: Any) -> None:
    async with serving(token="secret") as (_, _, _, channel):
        stub = system_service_pb2_grpc.SystemServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetServerInfo(INFO, metadata=metadata)
        watch = training_service_pb2_grpc.TrainingServiceStub(channel).WatchJob(
            training_service_pb2.WatchJobRequest(), metadata=metadata
        )
        with pytest.raises(grpc.aio.AioRpcError) as streamed:
            [response async for response in watch]
    assert reason(caught.value).reason == reason(streamed.value).reason == "UNAUTHENTICATED"


async def test_guesses_of_the_token_are_slowed_down_and_its_owner_is_not() -> None:
    async with serving(token="secret") as (_, _, _, channel):
        stub = system_service_pb2_grpc.SystemServiceStub(channel)

        async def answered(token: str) -> TuneyardError | None:
            try:
                await stub.GetServerInfo(INFO, metadata=(("authorization", f"Bearer {token}"),))
            except grpc.aio.AioRpcError as error:
                return reason(error)
            return None

        assert await answered("secret") is None
        guesses = [await answered(str(number)) for number in range(MOST_WRONG + 1)]
        told = [guess.reason for guess in guesses if guess]
        assert told == [*["UNAUTHENTICATED"] * MOST_WRONG, "TOO_MANY_REQUESTS"]
        assert guesses[-1] is not None
        assert guesses[-1].code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert guesses[-1].retry_after is not None
        assert await answered("secret") is None


async def test_a_call_with_the_token_is_served() -> None:
    async with serving(token="secret") as (_, _, _, channel):
        stub = system_service_pb2_grpc.SystemServiceStub(channel)
        answer = await stub.GetServerInfo(INFO, metadata=(("authorization", "Bearer secret"),))
    assert answer.version == "1"


@pytest.mark.parametrize("size", [MAX_MESSAGE_BYTES + 1, MAX_TRANSPORT_MESSAGE_BYTES + 1])
async def test_a_message_that_is_too_large_is_refused_and_the_server_lives(size: int) -> None:
    async with serving() as (_, _, _, channel):
        chunk = dataset_service_pb2.UploadDatasetRequest(chunk=bytes(size))
        stub = dataset_service_pb2_grpc.DatasetServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.UploadDataset(iter([chunk]), timeout=60)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await system_service_pb2_grpc.SystemServiceStub(channel).GetServerInfo(INFO)).version == "1"


async def test_bytes_that_are_no_message_are_refused() -> None:
    async with serving() as (_, _, _, channel):
        call: Any = channel.unary_unary("/tuneyard.v1.SystemService/GetServerInfo")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"\xff\xff\xff")
    assert reason(caught.value).reason == "INVALID_FIELD"


async def test_an_unknown_method_is_unimplemented() -> None:
    async with serving() as (_, _, _, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            method: Any = channel.unary_unary("/tuneyard.v1.SystemService/NoSuch")
            await method(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_and_reflection_name_the_services() -> None:
    async with serving() as (_, _, _, channel):
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=SERVICES[0]))
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([ask]))
        listed = {service.name for service in (await call.read()).list_services_response.service}
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert listed >= {*SERVICES, "grpc.health.v1.Health"}


async def test_a_stream_that_is_ended_while_it_sends_hears_of_it_too() -> None:
    async with serving() as (server, _, training, channel):
        training.when_sending = server._streams.end_streams
        call = training_service_pb2_grpc.TrainingServiceStub(channel).WatchJob(
            training_service_pb2.WatchJobRequest()
        )
        await call.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(call.read(), 60)
        assert training.ended.is_set()
    assert reason(caught.value).reason == "SHUTTING_DOWN"


async def test_stopping_ends_endless_streams_with_a_reason_at_once() -> None:
    async with serving() as (server, _, training, channel):
        call = training_service_pb2_grpc.TrainingServiceStub(channel).WatchJob(
            training_service_pb2.WatchJobRequest()
        )
        watching = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(service=SERVICES[0])
        )
        await call.read()
        await watching.read()
        # Long before the grace is over.
        async with asyncio.timeout(60):
            await server.stop(grace=timedelta(hours=1))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert training.ended.is_set()
    assert reason(caught.value).reason == "SHUTTING_DOWN"


def test_an_open_listener_needs_a_token() -> None:
    with pytest.raises(ListenError, match="TUNEYARD_TOKEN"):
        RpcServer(listen="0.0.0.0:0")


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1:1", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("127.8.0.1:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        (":1", False),
        ("gateway:1", False),
        ("192.168.0.4:1", False),
    ],
)
def test_loopback_is_recognised(listen: str, expected: bool) -> None:
    assert is_loopback(listen) is expected


async def test_an_occupied_port_is_a_clear_error() -> None:
    async with serving() as (_, _, _, _):
        first = RpcServer(listen="127.0.0.1:0")
        address = await first.start([])
        with pytest.raises(ListenError, match="in use"):
            await RpcServer(listen=address).start([])
        await first.stop(grace=timedelta(0))
