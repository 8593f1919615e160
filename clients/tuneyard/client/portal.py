"""One event loop in a thread, on which the blocking clients of a process run the asyncio implementation."""

import asyncio
import atexit
import os
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from concurrent.futures import CancelledError, Future, wait
from contextlib import suppress
from typing import Any, Generic, TypeVar

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
        call = _Call(coroutine, self._loop)
        try:
            self._loop.call_soon_threadsafe(call.begin)
            return call.outcome.result()
        except BaseException:
            # After an interrupt the work must be over before the caller cleans up after it.
            if not call.outcome.done():
                self._loop.call_soon_threadsafe(call.abandon)
                wait([call.outcome], timeout=2)
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


class _Call(Generic[T]):
    """A coroutine on its way to the loop. Its outcome exists before it is sent there.

    An interrupt may strike between the sending and the sender's learning that it happened, as
    `asyncio.run_coroutine_threadsafe` cannot tell: the work would go on unseen.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> None:
        self.outcome: Future[T] = Future()
        self._coroutine = coroutine
        self._loop = loop
        self._task: asyncio.Task[T] | None = None

    def begin(self) -> None:
        self._task = self._loop.create_task(self._coroutine)
        self._task.add_done_callback(self._ended)

    def abandon(self) -> None:
        """Cancels the work. What was sent before this has begun, so that a call without a task never will."""
        if self._task is not None:
            self._task.cancel()
        else:
            self._coroutine.close()
            self.outcome.set_exception(CancelledError())

    def _ended(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self.outcome.set_exception(CancelledError())
        elif error := task.exception():
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(task.result())


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
