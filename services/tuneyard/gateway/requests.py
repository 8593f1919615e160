"""Idempotency: which resource a creating call made, by principal, method and the caller's request id."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tuneyard.gateway.clock import to_micros
from tuneyard.gateway.db import Database
from tuneyard.gateway.schema import requests
from tuneyard.rpc.errors import TuneyardError

# The API promises 24 hours; twice that forgives clocks and retries that come late.
KEPT_FOR = timedelta(hours=48)

_FIND = select(requests.c.body_sha256, requests.c.resource).where(
    requests.c.principal == bindparam("principal"),
    requests.c.method == bindparam("method"),
    requests.c.request_id == bindparam("request_id"),
)


@dataclass(frozen=True)
class RequestKey:
    """A creating call that may be repeated."""

    principal: str
    method: str
    request_id: str
    body_sha256: str


def request_key(principal: str, method: str, request: Any) -> RequestKey | None:
    """The key of a request message with a field `request_id`; None where the caller gave none.

    The hash is over the deterministic serialization without the request id.
    """
    if not request.request_id:
        return None
    body = type(request)()
    body.CopyFrom(request)
    body.ClearField("request_id")
    digest = hashlib.sha256(body.SerializeToString(deterministic=True)).hexdigest()
    return RequestKey(principal, method, request.request_id, digest)


async def find_resource(connection: AsyncConnection, key: RequestKey) -> str | None:
    """The name that the first call with this key made, or None. REQUEST_ID_REUSED if its body was another."""
    parameters = {"principal": key.principal, "method": key.method, "request_id": key.request_id}
    row = (await connection.execute(_FIND, parameters)).one_or_none()
    if row is None:
        return None
    if row.body_sha256 != key.body_sha256:
        raise TuneyardError(
            "REQUEST_ID_REUSED",
            f"request_id {key.request_id!r} was used before with another request; choose a new one",
            resource=row.resource,
        )
    return str(row.resource)


async def made_before(db: Database, key: RequestKey | None) -> str | None:
    """As `find_resource`, for a call that need not go on where it is a repetition; None without a key."""
    if key is None:
        return None
    async with db.read() as connection:
        return await find_resource(connection, key)


async def remember(connection: AsyncConnection, key: RequestKey, resource: str, now: datetime) -> None:
    """Record what a call made. IntegrityError if a call with the same key was faster."""
    await connection.execute(
        insert(requests).values(
            principal=key.principal,
            method=key.method,
            request_id=key.request_id,
            body_sha256=key.body_sha256,
            resource=resource,
            create_time=to_micros(now),
        )
    )


async def purge(connection: AsyncConnection, now: datetime) -> int:
    """Forget calls that are older than `KEPT_FOR`; return how many."""
    oldest = to_micros(now - KEPT_FOR)
    return (await connection.execute(delete(requests).where(requests.c.create_time < oldest))).rowcount
