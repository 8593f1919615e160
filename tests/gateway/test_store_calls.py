"""Calls on a store that hangs: they end, and they hold nothing else up."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tuneyard.gateway import store_calls
from tuneyard.gateway.store_calls import THREADS, in_store, looked_up
from tuneyard.storage import StoreUnavailable


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    """What hanging calls wait for: set at the end, at the latest."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
async def outage(hang: threading.Event, monkeypatch: pytest.MonkeyPatch) -> list["asyncio.Task[bool]"]:
    """As many hanging calls as there are threads."""
    begun = threading.Semaphore(0)

    def call() -> bool:
        begun.release()
        return hang.wait()

    tasks = [asyncio.create_task(in_store(call)) for _ in range(THREADS)]
    for _ in tasks:
        await asyncio.to_thread(begun.acquire)
    # From here on: threads may take longer to begin.
    monkeypatch.setattr(store_calls, "THREAD_WITHIN", timedelta(seconds=0.1))
    monkeypatch.setattr(store_calls, "ANSWER_WITHIN", timedelta(seconds=0.1))
    return tasks


async def test_a_call_returns_and_raises_what_the_store_does() -> None:
    assert await in_store(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_store(divmod, 1, 0)


async def test_a_call_that_gets_no_thread_finds_the_store_unavailable(outage: list[object]) -> None:
    with pytest.raises(StoreUnavailable):
        await in_store(int)


async def test_a_hanging_store_leaves_other_threads_alone(outage: list[object]) -> None:
    assert await asyncio.wait_for(asyncio.to_thread(int), 30) == 0


async def test_a_call_that_has_its_thread_is_waited_for(
    outage: list["asyncio.Task[bool]"], hang: threading.Event
) -> None:
    with pytest.raises(StoreUnavailable):
        await in_store(int)
    hang.set()
    assert all(await asyncio.gather(*outage))


async def test_a_look_is_not_waited_for_though_it_has_its_thread(
    hang: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_calls, "ANSWER_WITHIN", timedelta(seconds=0.05))
    with pytest.raises(StoreUnavailable):
        await looked_up(hang.wait)


async def test_a_cancelled_caller_is_cancelled_and_not_told_of_the_store(outage: list[object]) -> None:
    caller = asyncio.create_task(in_store(int))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
