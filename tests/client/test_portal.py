import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import pytest

from tuneyard.client.portal import Portal


@pytest.fixture
def portal() -> Iterator[Portal]:
    portal = Portal()
    yield portal
    portal.stop()


class Endless:
    """Yields its first item, then waits for ever; knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    async def items(self) -> AsyncGenerator[int, None]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            self.closed.set()


def _interrupted(send: Callable[..., Any], *, before: bool) -> Callable[..., Any]:
    """An interrupt that strikes once, just before or just after something was sent to the loop."""
    struck = threading.Event()

    def sending(callback: Callable[[], None]) -> None:
        first = not struck.is_set()
        struck.set()
        if not (first and before):
            send(callback)
        if first:
            raise KeyboardInterrupt

    return sending


@pytest.mark.parametrize("before", [True, False])
def test_an_interrupt_while_work_is_sent_to_the_loop_closes_what_is_iterated(
    portal: Portal, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    endless = Endless()
    items = portal.iterate(endless.items())
    assert next(items) == 1
    loop = portal._loop
    monkeypatch.setattr(loop, "call_soon_threadsafe", _interrupted(loop.call_soon_threadsafe, before=before))
    with pytest.raises(KeyboardInterrupt):
        next(items)
    assert endless.closed.is_set()


def test_a_coroutines_error_is_the_callers(portal: Portal) -> None:
    async def failing() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        portal.run(failing())


def test_a_blocking_call_from_the_loop_itself_is_refused(portal: Portal) -> None:
    async def calling_back() -> None:
        portal.run(asyncio.sleep(0))

    with pytest.raises(RuntimeError, match="own callback"):
        portal.run(calling_back())
