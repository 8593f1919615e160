"""A fake gateway and the clients that talk to it."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest

from tests.support.fake_gateway import FakeGateway
from tuneyard.client import AsyncClient, Client, ConnectionSettings


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    fake = FakeGateway()
    fake.start()
    yield fake
    fake.stop()


@pytest.fixture
def settings(gateway: FakeGateway) -> ConnectionSettings:
    return ConnectionSettings(
        server=gateway.address, timeout=timedelta(seconds=10), patience=timedelta(seconds=5)
    )


@pytest.fixture
def client(settings: ConnectionSettings) -> Iterator[Client]:
    with Client(settings) as opened:
        yield opened


@pytest.fixture
async def async_client(settings: ConnectionSettings) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(settings) as opened:
        yield opened
