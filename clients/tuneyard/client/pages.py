"""Reads lists that a server gives out page by page."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

T = TypeVar("T")

_PAGE_SIZE: Final = 200

Fetch = Callable[[int, str], Awaitable[tuple[Iterable[T], str]]]
"""From a page's size and token to its items and the next page's token, "" after the last."""


async def collect(fetch: Fetch[T], *, limit: int | None = None) -> list[T]:
    """The items of all pages, or the first `limit` of them."""
    found: list[T] = []
    token = ""
    while limit is None or len(found) < limit:
        size = _PAGE_SIZE if limit is None else min(_PAGE_SIZE, limit - len(found))
        items, token = await fetch(size, token)
        found.extend(items)
        if not token:
            break
    return found if limit is None else found[:limit]
