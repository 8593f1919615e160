"""Fixtures that several folders share: real servers, started once per run, skipped where there is none."""

import gc
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import pytest
from hypothesis import settings

from tests.support.servers import PostgresServer, S3Server, ServerUnavailable, postgres_server, s3_server

T = TypeVar("T")

# How long an example takes says more about the machine than about the code. What CI judges does not depend on
# the day's examples; everybody else tries new ones.
settings.register_profile("tuneyard", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("tuneyard")


def pytest_collection_finish() -> None:
    """Tests that collect garbage need not look through what was loaded for all tests, torch among it."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Libraries that count what is left at the end would take what is frozen for lost."""
    gc.unfreeze()


@contextmanager
def _skipped_where_impossible(server: AbstractContextManager[T]) -> Iterator[T]:
    reason = ""
    try:
        started = server.__enter__()
    except ServerUnavailable as error:
        reason = str(error)
    if reason and os.environ.get("REQUIRE_SERVERS") == "1":
        pytest.fail(f"REQUIRE_SERVERS=1: {reason}", pytrace=False)
    if reason:
        pytest.skip(reason)
    try:
        yield started
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def _postgres_server() -> Iterator[PostgresServer]:
    with _skipped_where_impossible(postgres_server()) as server:
        yield server


@pytest.fixture
def postgres_url(_postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a fresh, empty database on a real PostgreSQL server."""
    with _postgres_server.database() as url:
        yield url


@pytest.fixture(scope="session")
def _s3_server() -> Iterator[S3Server]:
    with _skipped_where_impossible(s3_server()) as server:
        yield server


@pytest.fixture
def s3(_s3_server: S3Server) -> Iterator[S3Server]:
    """A real S3 server with a fresh bucket: endpoint, access_key, secret_key, bucket, region, secure."""
    with _s3_server.fresh_bucket() as server:
        yield server
