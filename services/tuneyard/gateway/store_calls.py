"""Calls on the object store from coroutines: in threads of their own, and never waited for without an end.

A store that hangs takes these threads and no others: the database, and all else that runs in asyncio's own
threads, goes on. What only looks something up is waited for briefly.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta
from functools import partial
from typing import Final, ParamSpec, TypeVar

from tuneyard.storage import StoreUnavailable

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 16
THREAD_WITHIN: Final = timedelta(seconds=30)
"""How long a call waits for a thread: longer than large parts take, shorter than callers' patience."""
ANSWER_WITHIN: Final = timedelta(seconds=10)
"""How long a call that only looks something up waits for its answer."""

_pool: Final = ThreadPoolExecutor(THREADS, "store")


async def in_store(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `work` returns. Raises StoreUnavailable where no thread gets free in time.

    Work that has begun goes on in its thread if the caller is cancelled.
    """
    return await _run(partial(work, *args, **kwargs), THREAD_WITHIN)


async def looked_up(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """As `in_store`, for work that leaves nothing behind: StoreUnavailable where no answer comes in time."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN.total_seconds()):
            return await _run(partial(work, *args, **kwargs), ANSWER_WITHIN)
    except TimeoutError:
        raise _unavailable() from None


async def _run(work: Callable[[], T], within: timedelta) -> T:
    future = _pool.submit(copy_context().run, work)
    gave_up = False

    def give_up() -> None:
        nonlocal gave_up
        # Without effect once the work has begun.
        gave_up = not future.cancelled() and future.cancel()

    timer = asyncio.get_running_loop().call_later(within.total_seconds(), give_up)
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        if gave_up:
            raise _unavailable() from None
        raise
    finally:
        timer.cancel()


def _unavailable() -> StoreUnavailable:
    return StoreUnavailable("the object store does not answer in time")
