"""SQLite for asyncio: one engine that writes, one that reads. Knows no table.

aiosqlite hands each call to a thread and back, which costs a transaction of eight statements more than its
fsync does, and a reading of one row twenty times the reading. Statements touch pages in memory and take
microseconds, and a connection has one user at a time: they run in the event loop, and only what may wait for
a lock or for the disk to be written runs in the thread.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import aiosqlite
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

BUSY_TIMEOUT = timedelta(seconds=10)
READERS = 4
_BETWEEN_TRIES = timedelta(milliseconds=10)
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")


class _WriterConnection(aiosqlite.Connection):
    """Runs the statements of a transaction in the event loop; begins and commits it in the thread."""

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        # A statement outside of a transaction begins one, and may have to wait for the lock.
        waits = bool(args) and not self._conn.in_transaction
        if waits or fn in (self._conn.commit, self._conn.close):
            return await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        return fn(*args, **kwargs)


class _ReaderConnection(aiosqlite.Connection):
    """Runs everything in the event loop: with a write-ahead log a reader waits for nobody."""

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if fn == self._conn.close:
            return await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        return fn(*args, **kwargs)


async def _connect(kind: type[aiosqlite.Connection], database: str, **options: Any) -> aiosqlite.Connection:
    options["check_same_thread"] = False
    connection = kind(partial(sqlite3.connect, database, **options), iter_chunk_size=64)
    # A process that is told to end must not wait for a connection that was never closed.
    connection._thread.daemon = True
    return await connection


def writer(url: URL) -> AsyncEngine:
    """An engine with one connection, whose transactions take the database's write lock when they begin."""
    engine = create_async_engine(
        url,
        pool_size=1,
        max_overflow=0,
        connect_args={
            "timeout": BUSY_TIMEOUT.total_seconds(),
            "async_creator_fn": partial(_connect, _WriterConnection),
        },
    )
    return _prepared(engine, begin="BEGIN IMMEDIATE")


def reader(url: URL) -> AsyncEngine:
    """An engine whose connections read, each transaction one consistent state."""
    engine = create_async_engine(
        url,
        pool_size=READERS,
        max_overflow=0,
        connect_args={
            "timeout": BUSY_TIMEOUT.total_seconds(),
            "async_creator_fn": partial(_connect, _ReaderConnection),
        },
    )
    return _prepared(engine, begin="BEGIN")


def _insist(cursor: Any, statement: str) -> None:
    """Executes it, again and again while the database is locked.

    SQLite waits for locks itself, but for that which turns a new database's journal into a write-ahead log.
    """
    patience = time.monotonic() + BUSY_TIMEOUT.total_seconds()
    while True:
        try:
            cursor.execute(statement)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > patience:
                raise
            await_only(asyncio.sleep(_BETWEEN_TRIES.total_seconds()))
        else:
            return


def _prepared(engine: AsyncEngine, *, begin: str) -> AsyncEngine:
    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        # The driver would begin transactions by its own rules, and late.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            _insist(cursor, f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
