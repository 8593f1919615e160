"""The side that uses a test server: starts it, and makes a fresh database or bucket for each test."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from minio import Minio

from tests.support.servers.process import ServerUnavailable

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def _program(name: str) -> Iterator[dict[str, str]]:
    command = [sys.executable, "-m", "tests.support.servers", name]
    # A session of its own, so that Ctrl-C at the terminal reaches the tests first and the server last.
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        description: dict[str, str] = json.loads(process.stdout.readline() or '{"unavailable": "it ended"}')
        if "unavailable" in description:
            raise ServerUnavailable(description["unavailable"])
        yield description
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


@dataclass(frozen=True)
class PostgresServer:
    """A running server; `url` names its maintenance database."""

    url: str

    @contextmanager
    def database(self) -> Iterator[str]:
        """A fresh database's URL, `postgresql://…`; it is dropped afterwards, with its connections."""
        name = f"test_{secrets.token_hex(6)}"
        _await(self._execute(f"CREATE DATABASE {name}"))
        try:
            yield urlsplit(self.url)._replace(path=f"/{name}").geturl()
        finally:
            _await(self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def _await(coroutine: Coroutine[Any, Any, None]) -> None:
    """Runs to the end on a loop of its own, in a thread, because the caller's thread may have a loop."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, coroutine).result()


@dataclass(frozen=True)
class S3Server:
    """A running S3 server, and the bucket made for this test."""

    endpoint: str
    """HOST:PORT."""
    access_key: str
    secret_key: str
    server: str
    """Which implementation it is, for messages and for the rare test that must know."""
    bucket: str = ""
    region: str = "us-east-1"
    secure: bool = False

    @property
    def url(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.endpoint}"

    def client(self) -> Minio:
        return Minio(self.endpoint, self.access_key, self.secret_key, region=self.region, secure=self.secure)

    @contextmanager
    def fresh_bucket(self) -> Iterator["S3Server"]:
        """The same server with a new bucket, which is emptied and removed afterwards."""
        bucket, client = f"tuneyard-test-{secrets.token_hex(6)}", self.client()
        client.make_bucket(bucket)
        try:
            yield replace(self, bucket=bucket)
        finally:
            for item in client.list_objects(bucket, recursive=True):
                client.remove_object(bucket, str(item.object_name))
            client.remove_bucket(bucket)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """The server named by TUNEYARD_TEST_POSTGRES_URL, else one of our own."""
    url = os.environ.get("TUNEYARD_TEST_POSTGRES_URL")
    if url:
        yield PostgresServer(url)
        return
    with _program("postgres") as description:
        yield PostgresServer(**description)


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """MinIO, else Ceph, of our own; else the server named by TUNEYARD_TEST_S3_URL with its two keys."""
    with _program("s3") as description:
        secure = description.pop("secure", "false") == "true"
        yield S3Server(**description, secure=secure)
