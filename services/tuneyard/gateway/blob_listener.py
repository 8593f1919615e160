"""Serves the folder store's signed URLs over HTTP, within the gateway's process."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from tuneyard.rpc.server import ListenError
from tuneyard.storage import FolderStore
from tuneyard.storage.http import blob_app


class BlobListener:
    """A bound listener. It is bound before the store is opened, because the store's URLs name its port."""

    def __init__(self, listen: str) -> None:
        """`listen` is HOST:PORT, port 0 for a free one. Raises ListenError."""
        host, _, port = listen.rpartition(":")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host.strip("[]"), int(port)))
        except OSError as error:
            self._socket.close()
            raise ListenError(f"cannot listen on {listen}: {error.strerror}") from error
        self.address = f"{host}:{self._socket.getsockname()[1]}"
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, store: FolderStore) -> None:
        """Serve a store's signed URLs."""
        config = uvicorn.Config(
            blob_app(store), log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))

    async def stop(self) -> None:
        """Stop listening; give requests that run a second."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await asyncio.wait([self._task])
        self._socket.close()


class _Server(uvicorn.Server):
    """Leaves the process's signals alone: the gateway has its own way to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
