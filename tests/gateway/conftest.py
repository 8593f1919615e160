"""Fixtures of the gateway's tests: a database of each kind, and a driver for the repositories on it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.support.ledger import LedgerDriver
from tests.support.servers import PostgresServer
from tuneyard.gateway.db import Database

# Each test that needs a database runs on SQLite and on PostgreSQL.
DIALECTS = ("sqlite", pytest.param("postgresql", marks=pytest.mark.integration))


@pytest.fixture(params=DIALECTS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new database without a schema."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'gateway.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def _kept_postgres_url(_postgres_server: PostgresServer) -> Iterator[str]:
    with _postgres_server.database() as url:
        yield url


@pytest.fixture(params=DIALECTS)
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """A migrated database without rows. PostgreSQL's is one for all tests: they take less than making one."""
    url = f"sqlite:///{tmp_path / 'gateway.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("_kept_postgres_url")
        await _remove_rows(url)
    database = Database.open(url)
    await database.migrate()
    yield database
    await database.close()


async def _remove_rows(url: str) -> None:
    """Whoever is still connected to the database is not any more, and holds no lock."""
    connection = await asyncpg.connect(url)
    try:
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        await connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
        tables = await connection.fetchval(
            "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables"
            " WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        )
        if tables:
            await connection.execute(f"TRUNCATE {tables} RESTART IDENTITY")
    finally:
        await connection.close()


@pytest.fixture
async def ledger(db: Database) -> LedgerDriver:
    """The job repository of a controller."""
    driver = LedgerDriver(db)
    await driver.lead()
    return driver
