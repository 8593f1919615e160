"""The guide's web sockets: progress and status of all tasks, or of one, as text frames."""

import asyncio
import json
from contextlib import aclosing, suppress
from typing import Any, Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from tuneyard.client import AsyncClient, errors
from tuneyard.v1 import job_pb2, training_service_pb2
from tuneyard.web.guide.tasks import status, task, task_id

_HEARTBEAT_SECONDS: Final = 15.0
_AGAIN_SECONDS: Final = 1.0
_MAX_WAITING: Final = 1000


class Socket:
    """One connection: what it sends and what it answers."""

    def __init__(self, socket: WebSocket, client: AsyncClient, *, only: str = "") -> None:
        """`only` is the id of the one task to tell about; "" tells about all, until a client subscribes."""
        self._socket = socket
        self._client = client
        self._only = {only} if only else set()
        self._told: dict[str, str] = {}
        self._frames: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_MAX_WAITING)

    async def serve(self) -> None:
        """Until either side leaves. A gateway that is away for a while is waited for."""
        await self._socket.accept()
        for name in self._only:
            await self._tell_now(name)
        async with asyncio.TaskGroup() as group:
            following = group.create_task(self._follow())
            # Either learns that the other side has left; the other part may wait for room in the queue.
            parts = [group.create_task(part()) for part in (self._answer, self._send)]
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for each in (following, *parts):
                each.cancel()

    async def _answer(self) -> None:
        with suppress(WebSocketDisconnect):
            while (message := await self._socket.receive())["type"] != "websocket.disconnect":
                # A frame of bytes has no text.
                frame = _parsed(message.get("text") or "")
                match frame.get("type"):
                    case "ping":
                        await self._frames.put({"type": "pong"})
                    case "subscribe" if isinstance(frame.get("task_id"), str):
                        self._only.add(str(frame["task_id"]))
                        self._told.clear()
                        await self._tell_now(str(frame["task_id"]))
                    case _:
                        told = 'send {"type": "ping"} or {"type": "subscribe", "task_id": "…"}'
                        await self._frames.put({"type": "error", "data": {"task_id": None, "message": told}})

    async def _tell_now(self, name: str) -> None:
        try:
            await self._tell(await self._client.jobs.get(name))
        except errors.TuneyardError as error:
            await self._complain(name, error.message)

    async def _send(self) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            while True:
                try:
                    frame = await asyncio.wait_for(self._frames.get(), _HEARTBEAT_SECONDS)
                except TimeoutError:
                    frame = {"type": "heartbeat"}
                await self._socket.send_text(json.dumps(frame))

    async def _follow(self) -> None:
        while True:
            try:
                stream = self._client.jobs.watch(training_service_pb2.JobFilter())
                async with aclosing(stream) as responses:
                    async for response in responses:
                        for job in response.jobs:
                            await self._tell(job)
            except errors.TuneyardError as error:
                await self._complain(None, error.message)
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _complain(self, name: str | None, message: str | None) -> None:
        await self._frames.put({"type": "error", "data": {"task_id": name, "message": message}})

    async def _tell(self, job: job_pb2.Job) -> None:
        """A status frame where the state changed, a progress frame where the task moved."""
        name = task_id(job)
        if self._only and name not in self._only:
            return
        told = task(job)
        if self._told.get(name) != told["message"]:
            self._told[name] = told["message"]
            await self._frames.put({"type": "status", "data": told})
            if status(job.state) == "failed":
                await self._complain(name, told["error"])
        if status(job.state) == "running":
            await self._frames.put(_progress(told))


def _progress(told: dict[str, Any]) -> dict[str, Any]:
    metrics = {"loss": told["loss"], "learning_rate": told["learning_rate"], **told["metrics"]}
    known = {name: value for name, value in metrics.items() if value is not None}
    return {
        "type": "progress",
        "data": {"task_id": told["task_id"], "progress": told["progress"], "metrics": known},
        "task_id": told["task_id"],
        "epoch": told["current_epoch"],
        "step": told["current_step"],
        "loss": told["loss"],
        "metrics": known,
    }


def _parsed(text: str) -> dict[str, Any]:
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return frame if isinstance(frame, dict) else {}


async def tell_tasks(socket: WebSocket) -> None:
    """/ws/training and /ws/training/{task_id}."""
    client: AsyncClient = socket.app.state.client
    await Socket(socket, client, only=socket.path_params.get("task_id", "")).serve()
