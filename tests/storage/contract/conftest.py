"""Stores of each kind, with a real server that answers their signed URLs."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from tests.support.servers import S3Server
from tuneyard.storage import FolderStore, ObjectStore, StoreSettings
from tuneyard.storage.http import blob_app
from tuneyard.storage.minio_store import MinioStore
from tuneyard.storage.s3_bucket import S3Bucket


class Clock:
    """The time by which the test's store signs URLs; servers have their own."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Listener:
    """A real HTTP listener that answers for one store after the other: starting and stopping one takes as
    long as many tests.
    """

    def __init__(self) -> None:
        self._config = uvicorn.Config(self, host="127.0.0.1", port=0, log_level="error", lifespan="off")
        self._socket = self._config.bind_socket()
        # Requests wait in the queue until the loop runs.
        self._socket.listen()
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def serve(self, store: FolderStore) -> None:
        """From now on requests are for this store."""
        self._app = blob_app(store)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Answers in a thread with a loop of its own."""
        server = uvicorn.Server(self._config)
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[self._socket])), daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join(timeout=10)
            self._socket.close()


@pytest.fixture(scope="session")
def listener() -> Iterator[Listener]:
    listener = Listener()
    with listener.running():
        yield listener


@pytest.fixture(params=["folder", pytest.param("minio", marks=pytest.mark.integration)])
def reopen(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Callable[[], ObjectStore]:
    """Opens the test's store; each call gives one that remembers nothing of the others."""
    if request.param == "folder":
        root, listener = tmp_path / "store", request.getfixturevalue("listener")
        listener.serve(FolderStore(root, public_url=listener.address))
        return lambda: FolderStore(root, public_url=listener.address, clock=clock)
    server: S3Server = request.getfixturevalue("s3")
    settings = StoreSettings(
        s3_endpoint=server.endpoint,
        s3_access_key=server.access_key,
        s3_secret_key=server.secret_key,
        s3_region=server.region,
        s3_secure=server.secure,
    )
    bucket = S3Bucket(server.bucket, settings=settings, clock=clock)
    return lambda: MinioStore(bucket, prefix="some/prefix")


@pytest.fixture
def store(reopen: Callable[[], ObjectStore]) -> ObjectStore:
    return reopen()


@pytest.fixture
def sign_earlier(clock: Clock) -> Callable[[timedelta], None]:
    """Sets the store's clock back."""

    def set_back(by: timedelta) -> None:
        clock.ahead = -by

    return set_back


@pytest.fixture
def break_off() -> Callable[[str], None]:
    """Begins a PUT of 10 MB to a URL, sends half of it and hangs up."""

    def put_half(url: str) -> None:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=10) as connection:
            lines = (
                f"PUT {parts.path}?{parts.query} HTTP/1.1",
                f"Host: {parts.netloc}",
                "Content-Length: 10000000",
            )
            connection.sendall("\r\n".join((*lines, "", "")).encode() + bytes(5_000_000))
            connection.shutdown(socket.SHUT_WR)
            # The server hangs up once it has noticed.
            while connection.recv(65536):
                pass

    return put_half


@pytest.fixture(scope="session")
def random_bytes() -> bytes:
    """17 MiB and a byte: more than three parts of the smallest size, none of them alike."""
    return os.urandom(17 * 1024 * 1024 + 1)
