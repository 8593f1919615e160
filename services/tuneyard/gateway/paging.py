"""Opaque page tokens for lists by creation, newest first: a place in the order, bound to the filter."""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, tuple_

from tuneyard.rpc.errors import TuneyardError

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
PAGE_BYTES = 1 << 20
"""The size of a page, but for one with a single row: clients take messages of 4 MiB by default."""


@dataclass(frozen=True)
class Place:
    """The last row of a page."""

    create_time: int
    id: str


def page_size(asked: int) -> int:
    """The rows of a page: 0 means the default."""
    return min(asked, MAX_PAGE_SIZE) if asked > 0 else DEFAULT_PAGE_SIZE


def fitting(sizes_bytes: Iterable[int]) -> int:
    """How many rows of these sizes a page may hold, from the first on: at least one."""
    count = total = 0
    for size_bytes in sizes_bytes:
        total += size_bytes
        if count and total > PAGE_BYTES:
            break
        count += 1
    return count


def filter_digest(method: str, *conditions: Any) -> str:
    """What binds a token to its list: a hash of the method and of messages or plain values."""
    digest = hashlib.sha256(method.encode())
    for condition in conditions:
        serialize = getattr(condition, "SerializeToString", None)
        digest.update(b"\0" + (serialize(deterministic=True) if serialize else repr(condition).encode()))
    return digest.hexdigest()[:16]


def encode_token(place: Place, digest: str) -> str:
    """The token of the page after a place."""
    content = json.dumps([digest, place.create_time, place.id], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def decode_token(token: str, digest: str) -> Place | None:
    """The place that a token names; None for the empty token of the first page. INVALID_PAGE_TOKEN."""
    if not token:
        return None
    try:
        content = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        bound, create_time, identifier = content
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise _invalid() from None
    if bound != digest or not isinstance(create_time, int) or not isinstance(identifier, str):
        raise _invalid()
    if not 0 <= create_time < 1 << 63 or not identifier.isprintable():
        raise _invalid()
    return Place(create_time, identifier)


def beyond(table: Table, place: Place) -> ColumnElement[bool]:
    """The condition for rows after a place, in the order of `create_time` and `id`, both descending."""
    return tuple_(table.c.create_time, table.c.id) < tuple_(place.create_time, place.id)


def _invalid() -> TuneyardError:
    return TuneyardError(
        "INVALID_PAGE_TOKEN",
        "the page token does not belong to this list; start again without one, or keep the same filter",
    )
