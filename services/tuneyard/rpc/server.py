"""The skeleton of every gRPC server of ours: options, interceptors, health, reflection, a graceful stop."""

import asyncio
import ipaddress
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]

from tuneyard.rpc.interceptors import (
    MAX_MESSAGE_BYTES,
    MAX_TRANSPORT_MESSAGE_BYTES,
    AuthInterceptor,
    ErrorInterceptor,
    StreamInterceptor,
    Translate,
)

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_TRANSPORT_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_TRANSPORT_MESSAGE_BYTES),
    # Two servers on one port would share its calls; an occupied port is to be an error.
    ("grpc.so_reuseport", 0),
    # Watchers behind NAT send pings; without these the server answers them with "too many pings".
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    # Dead peers are found and their calls ended.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)


class ListenError(Exception):
    """The server cannot listen as it is told; the message is for whoever started it."""


class RpcServer:
    """A gRPC server. Register servicers on `grpc`, start it, and stop it within a bounded time."""

    def __init__(
        self,
        *,
        listen: str,
        token: str | None = None,
        translate: Translate = lambda error: None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        """`listen` is HOST:PORT, port 0 for a free one. ListenError where a token is missing."""
        if not token and not is_loopback(listen):
            raise ListenError(
                f"{listen} can be reached from other machines: set TUNEYARD_TOKEN, or listen on 127.0.0.1"
            )
        self._listen = listen
        self._streams = StreamInterceptor()
        self._health = health.aio.HealthServicer()
        interceptors: list[grpc.aio.ServerInterceptor] = [
            ErrorInterceptor(translate=translate, max_message_bytes=max_message_bytes)
        ]
        if token:
            interceptors.append(AuthInterceptor(token))
        self.grpc = grpc.aio.server(interceptors=[*interceptors, self._streams], options=_OPTIONS)

    async def start(self, services: Sequence[str]) -> str:
        """Serve the named services, which are registered by now; return the address, with the real port."""
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)
        names = [*services, health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, self.grpc)
        try:
            port = self.grpc.add_insecure_port(self._listen)
        except RuntimeError as error:
            raise ListenError(f"cannot listen on {self._listen}: the port is in use, or not ours") from error
        for name in services:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        await self.grpc.start()
        return f"{self._listen.rpartition(':')[0]}:{port}"

    async def stop(self, *, grace: timedelta = timedelta(seconds=2)) -> None:
        """Refuse new calls, end endless streams, give the others `grace`, then cut them."""
        await self._health.enter_graceful_shutdown()
        stopping = asyncio.ensure_future(self.grpc.stop(grace.total_seconds()))
        # New calls are refused from here on, so that no stream begins behind our back.
        await asyncio.sleep(0)
        self._streams.end_streams()
        await stopping


def is_loopback(listen: str) -> bool:
    """Whether only this machine can reach a listener on HOST:PORT."""
    host = listen.rpartition(":")[0].strip("[]")
    if listen.startswith("unix:") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
