"""The gateway's database: transactions, migrations and notifications on SQLite or PostgreSQL. Knows no table.

A failure of the database itself leaves as a TuneyardError (STORAGE_FULL, DATABASE_UNAVAILABLE); a broken
constraint stays SQLAlchemy's IntegrityError, for the repositories to judge.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncTransaction, create_async_engine

from tuneyard.gateway import sqlite
from tuneyard.rpc.errors import TuneyardError

CHANNEL = "tuneyard"
CONNECT_TIMEOUT = timedelta(seconds=10)
RECONNECT_AFTER = timedelta(seconds=1)
MIGRATIONS = Path(__file__).parent / "migrations"
# Any number will do, as long as every gateway takes the same one.
MIGRATION_LOCK = 7_091_885_227
POSTGRES_CONNECTIONS = 10

Dialect = Literal["sqlite", "postgresql"]


class Database:
    """One database. SQLite has one writer at a time in this process; PostgreSQL locks rows."""

    def __init__(self, writer: AsyncEngine, reader: AsyncEngine, *, dsn: str = "") -> None:
        self.dialect: Dialect = "sqlite" if writer.dialect.name == "sqlite" else "postgresql"
        self._writer = writer
        self._reader = reader
        self._dsn = dsn
        # SQLite would let writers wait for each other by sleeping; this lets them queue instead.
        self._write_lock: contextlib.AbstractAsyncContextManager[Any] = (
            asyncio.Lock() if self.dialect == "sqlite" else contextlib.nullcontext()
        )

    @classmethod
    def open(cls, url: str) -> "Database":
        """Make a database of "sqlite:///PATH" or "postgresql://…". Connects when first used.

        Raises ValueError for another scheme. The folder of a SQLite file is made where it is missing.
        """
        parsed = make_url(url)
        match parsed.get_backend_name():
            case "sqlite" if parsed.database and parsed.database != ":memory:":
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
                target = parsed.set(drivername="sqlite+aiosqlite")
                return cls(sqlite.writer(target), sqlite.reader(target))
            case "postgresql" | "postgres":
                dsn = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
                engine = create_async_engine(
                    "postgresql+asyncpg://",
                    async_creator=partial(_connect, dsn),
                    pool_size=POSTGRES_CONNECTIONS,
                    max_overflow=0,
                    pool_pre_ping=True,
                )
                # By default each statement of a transaction would see a state of its own.
                return cls(engine, engine.execution_options(isolation_level="REPEATABLE READ"), dsn=dsn)
            case _:
                raise ValueError("a database is sqlite:///PATH or postgresql://…")

    @contextlib.asynccontextmanager
    async def transaction(
        self, *, after_commit: Callable[[], None] | None = None
    ) -> AsyncIterator[AsyncConnection]:
        """A connection in a writing transaction: committed when the block ends, rolled back by an exception.

        `after_commit` is called at once after the commit, before any other transaction of this process on
        SQLite can begin: so calls for one row come in the order of its commits.
        """
        with _translated_errors():
            async with self._write_lock, self._writer.connect() as connection:
                transaction = await connection.begin()
                try:
                    yield connection
                except BaseException:
                    await transaction.rollback()
                    raise
                await _commit(transaction, after_commit)

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection that reads one consistent state. It never waits for a writer."""
        with _translated_errors():
            async with self._reader.connect() as connection:
                yield connection

    async def migrate(self) -> None:
        """Bring the schema to this release's. Raises RuntimeError if the database is of a newer release."""
        async with self.transaction() as connection:
            if self.dialect == "postgresql":
                await connection.execute(
                    text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK}
                )
            await connection.run_sync(_upgrade)

    async def notify(self, connection: AsyncConnection, payload: str) -> None:
        """Tell all listeners of this database once the connection's transaction commits. SQLite has none."""
        if self.dialect == "postgresql":
            await connection.execute(
                text("SELECT pg_notify(:channel, :payload)"), {"channel": CHANNEL, "payload": payload}
            )

    async def listen(self, callback: Callable[[str], None]) -> None:
        """Call back with each payload, until cancelled. Returns at once on SQLite: it has one gateway only.

        After every (re)connection it calls back with "": what was notified in between is lost.
        """
        if self.dialect == "sqlite":
            return
        import asyncpg

        while True:
            # However the connection is lost, the remedy is another one.
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await _listen_once(await _connect(self._dsn), callback)
            await asyncio.sleep(RECONNECT_AFTER.total_seconds())

    async def close(self) -> None:
        """Close all connections."""
        await self._writer.dispose()
        await self._reader.dispose()


async def _connect(dsn: str) -> Any:
    """A connection by a libpq URL, whose parameters (sslmode, host, …) asyncpg reads itself."""
    import asyncpg

    return await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT.total_seconds())


async def _commit(transaction: AsyncTransaction, after_commit: Callable[[], None] | None) -> None:
    """Commit and tell, even if the caller is cancelled meanwhile: a commit that happened must be told."""
    task = asyncio.create_task(transaction.commit())
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    if after_commit:
        after_commit()
    if cancelled:
        raise cancelled


async def _listen_once(connection: Any, callback: Callable[[str], None]) -> None:
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    try:
        await connection.add_listener(CHANNEL, lambda *arguments: callback(str(arguments[3])))
        callback("")
        await lost.wait()
    finally:
        connection.terminate()


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise RuntimeError(f"the database cannot be brought to this release's schema: {error}") from error


@contextlib.contextmanager
def _translated_errors() -> Any:
    try:
        yield
    except IntegrityError:
        raise
    except (DBAPIError, SQLAlchemyError, OSError) as error:
        translated = _translate(error)
        if translated is None:
            raise
        raise translated from error


# SQLSTATE classes after which the same call may succeed: lost connections, shutdowns, too many connections,
# deadlocks and serialization failures.
_TRANSIENT_SQLSTATES = ("08", "40", "53", "57P")


def _translate(error: Exception) -> TuneyardError | None:
    """The error to answer with where the database failed; None where the statement is at fault."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    words = str(cause).lower()
    state = getattr(cause, "sqlstate", None) or ""
    if state == "53100" or "disk is full" in words:
        return TuneyardError("STORAGE_FULL", "the disk of the database is full")
    transient = (
        isinstance(cause, OSError)
        or (isinstance(error, DBAPIError) and error.connection_invalidated)
        or state.startswith(_TRANSIENT_SQLSTATES)
        or any(word in words for word in ("database is locked", "disk i/o error", "unable to open", "closed"))
        or "queuepool limit" in words
    )
    if not transient:
        return None
    return TuneyardError(
        "DATABASE_UNAVAILABLE", "the database does not answer", retry_after=timedelta(seconds=1)
    )
