"""One event loop in a thread, on which the blocking clients of a process run the asyncio implementation."""

import asyncio
import atexit
import os
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class Portal:
    """Runs coroutines from other threads. An interrupt of the caller cancels what it waits for."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_handle)
        self._thread = threading.Thread(target=self._loop.run_forever, name="tuneyard-client", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine to its end and returns its result."""
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("a blocking client was called from its own callback")
        ended = threading.Event()

        async def supervised() -> T:
            try:
                return await coroutine
            finally:
                ended.set()

        future = asyncio.run_coroutine_threadsafe(supervised(), self._loop)
        try:
            return future.result()
        except BaseException:
            # After an interrupt the work must be over before the caller cleans up after it.
            if future.cancel():
                ended.wait(2)
            raise

    def iterate(self, items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """Yields what an asynchronous generator yields, and closes it however the loop over it is left."""

        async def following() -> tuple[T, ...]:
            async for item in items:
                return (item,)
            return ()

        try:
            while found := self.run(following()):
                yield found[0]
        finally:
            self.run(items.aclose())

    def stop(self) -> None:
        """Ends the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2)


_lock = threading.Lock()
_portals: dict[int, Portal] = {}


def shared_portal() -> Portal:
    """The portal of this process. Threads do not survive a fork, so that a child gets its own."""
    with _lock:
        portal = _portals.get(os.getpid())
        if portal is None:
            _portals.clear()
            portal = _portals[os.getpid()] = Portal()
            atexit.register(_stop, os.getpid())
        return portal


def _stop(pid: int) -> None:
    if pid == os.getpid():
        with suppress(RuntimeError):
            _portals.pop(pid).stop()


def _handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # grpc.aio wakes every loop of the process by one shared socket: those who come second find it empty.
    if not isinstance(context.get("exception"), BlockingIOError):
        loop.default_exception_handler(context)
