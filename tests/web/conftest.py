"""The edge over a fake gateway, asked in-process by an HTTP client."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.fake_gateway import FakeGateway
from tuneyard.web.app import make_app
from tuneyard.web.config import WebConfig


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    fake = FakeGateway()
    fake.start()
    yield fake
    fake.stop()


@pytest.fixture
def config(gateway: FakeGateway) -> WebConfig:
    return WebConfig(server=gateway.address)


@pytest.fixture
async def http(config: WebConfig, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = make_app(config, static=tmp_path / "no-ui")
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            yield client
