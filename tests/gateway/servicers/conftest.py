"""A gateway over real sockets for each test of the edge."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.edge import Edge, running_edge


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    """A gateway with a folder store, SQLite and one vision trainer."""
    async with running_edge(tmp_path / "gateway") as running:
        yield running


@pytest.fixture(scope="session")
def _judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a gateway that has judged datasets/shapes, and ended."""
    folder = tmp_path_factory.mktemp("judged") / "gateway"

    async def judge() -> None:
        async with running_edge(folder) as running:
            await running.ready_dataset()

    asyncio.run(judge())
    return folder


@pytest.fixture
async def edge_with_shapes(_judged: Path, tmp_path: Path) -> AsyncIterator[Edge]:
    """Such a gateway that has datasets/shapes from an earlier run: judging it takes a process each time."""
    async with running_edge(shutil.copytree(_judged, tmp_path / "gateway")) as running:
        yield running
