"""One fixture, `place`: where stores of each kind are opened, and how their signed URLs are reached."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from tests.support.servers import S3Server
from tuneyard.storage import FolderStore, ObjectStore, StoreSettings, open_store
from tuneyard.storage.http import blob_app


class Place:
    """Somewhere to keep objects; each `open` gives a store that remembers nothing of the ones before."""

    def __init__(self, kind: str, opened: Callable[[], ObjectStore]) -> None:
        self.kind = kind
        self.open = opened


@contextmanager
def _serving(build: Callable[[str], FolderStore]) -> Iterator[str]:
    """A real HTTP listener for a folder store, in a thread with a loop of its own; yields its address."""
    config = uvicorn.Config(lambda: None, host="127.0.0.1", port=0, log_level="error", lifespan="off")
    listener = config.bind_socket()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config.app = blob_app(build(address))
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        yield address
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()


@pytest.fixture(params=["folder", pytest.param("minio", marks=pytest.mark.integration)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "folder":
        root = tmp_path / "store"
        with _serving(lambda url: FolderStore(root, public_url=url)) as url:
            yield Place("folder", lambda: FolderStore(root, public_url=url))
    else:
        server: S3Server = request.getfixturevalue("s3")
        settings = StoreSettings(
            s3_endpoint=server.endpoint,
            s3_access_key=server.access_key,
            s3_secret_key=server.secret_key,
            s3_region=server.region,
            s3_secure=server.secure,
        )
        url = f"s3://{server.bucket}/some/prefix"
        yield Place("minio", lambda: open_store(url, settings=settings))


@pytest.fixture
def store(place: Place) -> ObjectStore:
    return place.open()


@pytest.fixture(scope="session")
def random_bytes() -> bytes:
    """17 MiB and a byte: more than three parts of the smallest size, none of them alike."""
    return os.urandom(17 * 1024 * 1024 + 1)
