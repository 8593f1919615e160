"""Fixtures of the gateway's tests: a database of each kind, and a driver for the repositories on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.ledger import LedgerDriver
from tuneyard.gateway.db import Database


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database: each test that needs one runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'gateway.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """A migrated database."""
    database = Database.open(database_url)
    await database.migrate()
    yield database
    await database.close()


@pytest.fixture
async def ledger(db: Database) -> LedgerDriver:
    """The job repository of a controller."""
    driver = LedgerDriver(db)
    await driver.lead()
    return driver
