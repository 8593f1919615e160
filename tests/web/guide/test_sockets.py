import asyncio
from typing import Any

from starlette.websockets import WebSocketDisconnect

from tests.support.fake_gateway import FakeGateway
from tuneyard.client import AsyncClient
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
