"""The database: migrations, transactions, failures, notifications."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from tuneyard.gateway.db import Database
from tuneyard.gateway.schema import garbage, metadata
from tuneyard.rpc.errors import TuneyardError

ROW = insert(garbage).values(prefix="a/", delete_after=1)
COUNT = select(func.count()).select_from(garbage)


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """A migrated database of the test's own, whose schema it may change."""
    database = Database.open(database_url)
    await database.migrate()
    yield database
    await database.close()


async def _count(db: Database) -> int:
    async with db.read() as connection:
        return int((await connection.execute(COUNT)).scalar_one())


async def test_migrating_gives_the_schema_that_the_repositories_use(db: Database) -> None:
    def differences(connection: Connection) -> Any:
        return compare_metadata(MigrationContext.configure(connection), metadata)

    async with db.transaction() as connection:
        assert await connection.run_sync(differences) == []


async def test_migrating_twice_and_at_once_does_no_harm(database_url: str) -> None:
    databases = [Database.open(database_url) for _ in range(3)]
    await asyncio.gather(*(database.migrate() for database in databases))
    assert [await _count(database) for database in databases] == [0, 0, 0]
    for database in databases:
        await database.close()


async def test_a_new_database_that_another_process_writes_is_waited_for(tmp_path: Path) -> None:
    writing = sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)
    writing.execute("BEGIN IMMEDIATE")
    database = Database.open(f"sqlite:///{tmp_path}/gateway.db")
    migrating = asyncio.create_task(database.migrate())
    tried, _ = await asyncio.wait([migrating], timeout=0.3)
    assert not tried
    writing.execute("COMMIT")
    await migrating
    assert await _count(database) == 0
    await database.close()
    writing.close()


async def test_a_database_of_a_newer_release_is_refused(db: Database) -> None:
    async with db.transaction() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(RuntimeError, match="9999"):
        await db.migrate()


async def test_an_exception_undoes_the_transaction_and_tells_nobody(db: Database) -> None:
    told: list[str] = []
    with pytest.raises(KeyError):
        async with db.transaction(after_commit=lambda: told.append("x")) as connection:
            await connection.execute(ROW)
            raise KeyError
    assert (await _count(db), told) == (0, [])
    async with db.transaction(after_commit=lambda: told.append("x")) as connection:
        await connection.execute(ROW)
        assert told == []
    assert (await _count(db), told) == (1, ["x"])


async def test_a_commit_is_told_even_if_its_caller_is_cancelled_meanwhile(db: Database) -> None:
    told: list[str] = []
    written = asyncio.Event()

    async def write() -> None:
        async with db.transaction(after_commit=lambda: told.append("x")) as connection:
            await connection.execute(ROW)
            written.set()

    writer = asyncio.create_task(write())
    await written.wait()
    writer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writer
    assert await _count(db) == len(told) == 1


async def test_a_writer_that_is_cancelled_before_its_commit_leaves_nothing(db: Database) -> None:
    written = asyncio.Event()

    async def write() -> None:
        async with db.transaction() as connection:
            await connection.execute(ROW)
            written.set()
            await asyncio.Event().wait()

    writer = asyncio.create_task(write())
    await written.wait()
    writer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writer
    assert await _count(db) == 0


async def test_readers_do_not_wait_for_a_writer_and_see_only_commits(db: Database) -> None:
    async with db.transaction() as connection:
        await connection.execute(ROW)
        async with asyncio.timeout(30):
            assert await _count(db) == 0


async def test_one_read_sees_one_state(db: Database) -> None:
    async with db.read() as connection:
        assert (await connection.execute(COUNT)).scalar_one() == 0
        async with db.transaction() as writer:
            await writer.execute(ROW)
        assert (await connection.execute(COUNT)).scalar_one() == 0
    assert await _count(db) == 1


async def test_concurrent_writers_lose_no_update(db: Database) -> None:
    async with db.transaction() as connection:
        await connection.execute(ROW)

    async def add_one() -> None:
        async with db.transaction() as connection:
            await connection.execute(update(garbage).values(delete_after=garbage.c.delete_after + 1))

    await asyncio.gather(*(add_one() for _ in range(50)))
    async with db.read() as connection:
        assert (await connection.execute(select(garbage.c.delete_after))).scalar_one() == 51


async def test_a_broken_constraint_stays_what_it_is(db: Database) -> None:
    async with db.transaction() as connection:
        await connection.execute(ROW)
    with pytest.raises(IntegrityError):
        async with db.transaction() as connection:
            await connection.execute(ROW)
    assert await _count(db) == 1


@pytest.mark.parametrize("url", ["mysql://localhost/x", "sqlite://", "sqlite:///:memory:"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="postgresql://"):
        Database.open(url)


async def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    db = Database.open(f"sqlite:///{tmp_path / 'small.db'}")
    await db.migrate()
    with pytest.raises(TuneyardError) as raised:
        async with db.transaction() as connection:
            await connection.execute(text("PRAGMA max_page_count = 1"))
            await connection.execute(insert(garbage).values(prefix="x" * 1_000_000, delete_after=1))
    assert raised.value.reason == "STORAGE_FULL"
    await db.close()


# The driver's thread for a file that could not be opened may outlive the test's event loop.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("url", ["sqlite:////proc/none.db", "postgresql://nobody@127.0.0.1:9/none"])
async def test_a_database_that_does_not_answer_is_unavailable(url: str) -> None:
    db = Database.open(url)
    with pytest.raises(TuneyardError) as raised:
        await _count(db)
    assert raised.value.reason == "DATABASE_UNAVAILABLE"
    assert raised.value.retry_after
    await db.close()


@pytest.mark.integration
async def test_a_postgresql_url_may_have_the_parameters_of_libpq(postgres_url: str) -> None:
    url = postgres_url.replace("postgresql://", "postgres://")
    db = Database.open(f"{url}?sslmode=disable&application_name=tuneyard")
    async with db.read() as connection:
        name = (await connection.execute(text("SHOW application_name"))).scalar_one()
    assert name == "tuneyard"
    await db.close()


@pytest.mark.integration
async def test_listeners_hear_of_commits_and_only_of_those(postgres_url: str) -> None:
    db = Database.open(postgres_url)
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = asyncio.create_task(db.listen(heard.put_nowait))
    async with asyncio.timeout(30):
        assert await heard.get() == ""
        with contextlib.suppress(KeyError):
            async with db.transaction() as connection:
                await db.notify(connection, "undone")
                raise KeyError
        async with db.transaction() as connection:
            await db.notify(connection, "jobs/1 5")
        assert await heard.get() == "jobs/1 5"
    listener.cancel()
    await db.close()


@pytest.mark.integration
async def test_a_lost_connection_is_replaced_for_callers_and_listeners(postgres_url: str) -> None:
    db = Database.open(postgres_url)
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = asyncio.create_task(db.listen(heard.put_nowait))
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    async with asyncio.timeout(60):
        assert await heard.get() == ""
        async with db.read() as connection:
            await connection.execute(text(f"{others} AND datname = current_database()"))
        assert await heard.get() == ""
        async with db.read() as connection:
            assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
    listener.cancel()
    await db.close()


async def test_sqlite_has_no_one_to_listen_to(tmp_path: Path) -> None:
    db = Database.open(f"sqlite:///{tmp_path / 'gateway.db'}")
    async with asyncio.timeout(30):
        await db.listen(lambda payload: None)
