import asyncio
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from tests.support.fake_gateway import FakeGateway
from tuneyard.client import AsyncClient
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import (
    job_pb2,
    training_service_pb2,
)
from tuneyard.web.app import make_app
from tuneyard.web.config import WebConfig
from tuneyard.web.guide.sockets import Socket


class Unread:
    """A web socket whose other side sends pings, reads nothing and leaves."""

    def __init__(self, pings: int) -> None:
        self._pings = pings

    async def accept(self) -> None:
        pass

    async def receive(self) -> dict[str, Any]:
        self._pings -= 1
        if self._pings < 0:
            return {"type": "websocket.disconnect"}
        return {"type": "websocket.receive", "text": '{"type": "ping"}'}

    async def send_text(self, text: str) -> None:
        raise WebSocketDisconnect(1006)


async def test_a_client_that_reads_nothing_and_leaves_is_let_go(gateway: FakeGateway) -> None:
    async with AsyncClient(gateway.address) as client, asyncio.timeout(20):
        await Socket(Unread(pings=5000), client).serve()  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/ws/training", "/api/ws/training", "/ws/training/1"])
def test_a_socket_tells_states_and_answers_pings(ready: FakeGateway, config: WebConfig, path: str) -> None:
    job = job_pb2.Job(name="jobs/1", state=job_pb2.JOB_STATE_RUNNING)

    def watch(request, context):
        yield training_service_pb2.WatchJobsResponse(jobs=[job])

    ready.on("WatchJobs", watch)
    with (
        TestClient(make_app(config), base_url="http://127.0.0.1:8000") as client,
        client.websocket_connect(path, headers={"host": "127.0.0.1:8000"}) as socket,
    ):
        socket.send_json({"type": "ping"})
        seen: dict[str, object] = {}
        while {"pong", "status", "progress"} - seen.keys():
            frame = socket.receive_json()
            seen[frame["type"]] = frame
    assert seen["status"]["data"]["status"] == "running"
    assert seen["progress"]["task_id"] == "1"


def test_a_socket_of_a_task_that_is_not_there_says_so(config: WebConfig, gateway: FakeGateway) -> None:
    gateway.fail("GetJob", TuneyardError("JOB_NOT_FOUND", "there is no job jobs/1", resource="jobs/1"))
    gateway.on("WatchJobs", lambda request, context: iter([training_service_pb2.WatchJobsResponse()]))
    with (
        TestClient(make_app(config), base_url="http://127.0.0.1:8000") as client,
        client.websocket_connect("/ws/training/1", headers={"host": "127.0.0.1:8000"}) as socket,
    ):
        frame = socket.receive_json()
    assert frame == {"type": "error", "data": {"task_id": "1", "message": "there is no job jobs/1"}}


def test_another_sites_page_opens_no_socket(ready: FakeGateway, config: WebConfig) -> None:
    headers = {"host": "127.0.0.1:8000", "origin": "https://evil.example"}
    with (
        TestClient(make_app(config), base_url="http://127.0.0.1:8000") as client,
        pytest.raises(WebSocketDisconnect) as caught,
        client.websocket_connect("/ws/training", headers=headers),
    ):
        pass
    assert caught.value.code == 1008


def test_a_frame_of_bytes_is_told_and_the_socket_stays(config: WebConfig, gateway: FakeGateway) -> None:
    gateway.on("WatchJobs", lambda request, context: iter([training_service_pb2.WatchJobsResponse()]))
    with (
        TestClient(make_app(config)) as client,
        client.websocket_connect("/ws/training", headers={"host": "127.0.0.1:8000"}) as socket,
    ):
        socket.send_bytes(b"\xff")
        assert socket.receive_json()["type"] == "error"
        socket.send_json({"type": "ping"})
        assert socket.receive_json() == {"type": "pong"}
