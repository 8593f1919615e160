"""Follows a job's events across broken connections and proves that none is missing."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

from tuneyard.client import errors
from tuneyard.client.connection import Connection, Patience
from tuneyard.v1 import event_pb2, job_pb2, training_service_pb2

TERMINAL: Final = frozenset(
    {job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED}
)

_BROKEN: Final = errors.TRANSIENT


async def watch_events(
    connection: Connection, name: str, *, after: int = 0
) -> AsyncGenerator[Sequence[event_pb2.JobEvent], None]:
    """Yields a job's events after a sequence, as they arrive, until the one that made the job terminal.

    Connects again by itself from the last event seen. Raises EventGap where sequences do not follow one
    another, and ServerUnreachable when the server stays away for longer than the connection's patience.
    """
    sequence = after
    patience = Patience(connection.settings.patience)
    while True:
        try:
            request = training_service_pb2.WatchJobRequest(name=name, after_sequence=sequence)
            async with aclosing(connection.stream(connection.training.WatchJob, request)) as responses:
                async for response in responses:
                    patience.progressed()
                    if not response.events:
                        continue
                    sequence = _follow(sequence, response.events, name)
                    yield response.events
                    if _is_terminal(response.events[-1]):
                        return
            # An orderly end without a terminal event: a server that stops, or nothing was left to tell.
            if await _has_ended(connection, name, sequence):
                return
            raise errors.ServerUnreachable(f"{connection.settings.server} ended the stream early")
        except _BROKEN as error:
            await patience.after(error)


async def watch_jobs(
    connection: Connection, filter: training_service_pb2.JobFilter
) -> AsyncGenerator[training_service_pb2.WatchJobsResponse, None]:
    """Yields the current jobs, then changes, without end; a broken connection begins anew."""
    patience = Patience(connection.settings.patience)
    while True:
        try:
            request = training_service_pb2.WatchJobsRequest(filter=filter)
            async with aclosing(connection.stream(connection.training.WatchJobs, request)) as responses:
                async for response in responses:
                    patience.progressed()
                    yield response
            raise errors.ServerUnreachable(f"{connection.settings.server} ended the stream")
        except _BROKEN as error:
            await patience.after(error)


def _follow(sequence: int, events: Sequence[event_pb2.JobEvent], name: str) -> int:
    for event in events:
        if event.sequence != sequence + 1:
            raise errors.EventGap(f"{name}: event {event.sequence} follows event {sequence}", resource=name)
        sequence = event.sequence
    return sequence


def _is_terminal(event: event_pb2.JobEvent) -> bool:
    return event.WhichOneof("body") == "state_change" and event.state_change.to in TERMINAL


async def _has_ended(connection: Connection, name: str, sequence: int) -> bool:
    request = training_service_pb2.GetJobRequest(name=name)
    job = (await connection.unary(connection.training.GetJob, request)).job
    return job.state in TERMINAL and job.last_sequence <= sequence
