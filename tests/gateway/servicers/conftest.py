"""A gateway over real sockets for each test of the edge."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.edge import Edge, running_edge


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    """A gateway with a folder store, SQLite and one vision trainer."""
    async with running_edge(tmp_path / "gateway") as running:
        yield running
