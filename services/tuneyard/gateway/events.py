"""The event log of jobs: appended in one place, read as the bytes that subscribers get.

A chunk is one entry of `WatchJobResponse.events` on the wire, so that joined chunks are a response: an event
is serialized once, when it is written.
"""

from collections.abc import Sequence

from sqlalchemy import bindparam, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tuneyard.gateway import paging
from tuneyard.gateway.schema import events
from tuneyard.v1 import event_pb2

# Field 1, length-delimited.
_EVENTS_TAG = b"\x0a"

_KINDS = {name: field.number for name, field in event_pb2.JobEvent.DESCRIPTOR.fields_by_name.items()}

_INSERT = insert(events)
_AFTER = (
    select(events.c.sequence, events.c.blob)
    .where(events.c.job_id == bindparam("job_id"), events.c.sequence > bindparam("after"))
    .order_by(events.c.sequence)
    .limit(bindparam("row_limit"))
)
_METRICS_AFTER = (
    select(events.c.blob)
    .where(
        events.c.job_id == bindparam("job_id"),
        events.c.kind.in_([_KINDS[name] for name in ("metrics", "state_change", "rolled_back")]),
        events.c.sequence > bindparam("after"),
    )
    .order_by(events.c.sequence)
    .limit(bindparam("row_limit"))
)


def chunk(serialized: bytes) -> bytes:
    """A serialized JobEvent as an entry of `WatchJobResponse.events`."""
    length = len(serialized)
    head = bytearray(_EVENTS_TAG)
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + serialized


async def append(
    connection: AsyncConnection, job_id: str, new: Sequence[event_pb2.JobEvent]
) -> tuple[bytes, ...]:
    """Insert events, numbered by `JobEdit`, and return their chunks. Nothing else inserts any."""
    if not new:
        return ()
    blobs = [event.SerializeToString() for event in new]
    rows = [
        {
            "job_id": job_id,
            "sequence": event.sequence,
            "attempt": event.attempt,
            "kind": _KINDS[event.WhichOneof("body") or "log"],
            "blob": blob,
        }
        for event, blob in zip(new, blobs, strict=True)
    ]
    await connection.execute(_INSERT, rows)
    return tuple(chunk(blob) for blob in blobs)


async def read_after(
    connection: AsyncConnection, job_id: str, sequence: int, limit: int
) -> list[tuple[int, bytes]]:
    """At most `limit` events beyond a sequence, in order: sequence and chunk."""
    parameters = {"job_id": job_id, "after": sequence, "row_limit": limit}
    return [(number, chunk(blob)) for number, blob in await connection.execute(_AFTER, parameters)]


async def read_page_after(
    connection: AsyncConnection, job_id: str, sequence: int, limit: int, *, kinds: Sequence[str]
) -> tuple[list[bytes], int]:
    """A page of serialized JobEvents beyond a sequence, in order, and where the next one starts (0: nowhere).

    At most `limit` events, fewer where they are large; with `kinds`, of these only.
    """
    conditions = [events.c.job_id == job_id, events.c.sequence > sequence]
    if kinds:
        conditions.append(events.c.kind.in_([_KINDS[name] for name in kinds]))
    # Sizes first: of events that no page could hold none is read.
    sizes = select(events.c.sequence, func.length(events.c.blob).label("size_bytes")).where(*conditions)
    rows = (await connection.execute(sizes.order_by(events.c.sequence).limit(limit + 1))).all()
    page = rows[: paging.fitting(row.size_bytes for row in rows[:limit])]
    if not page:
        return [], 0
    last = page[-1].sequence
    query = select(events.c.blob).where(*conditions, events.c.sequence <= last)
    found = await connection.execute(query.order_by(events.c.sequence))
    return [blob for (blob,) in found], last if len(rows) > len(page) else 0


async def read_metrics_after(
    connection: AsyncConnection, job_id: str, sequence: int, limit: int
) -> list[bytes]:
    """At most `limit` serialized JobEvents with metrics, or with what voids some, beyond a sequence."""
    parameters = {"job_id": job_id, "after": sequence, "row_limit": limit}
    return [blob for (blob,) in await connection.execute(_METRICS_AFTER, parameters)]
