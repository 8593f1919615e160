"""Follows a job to its end: events as JSON for programs, a view for people."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import TypeAlias

from tuneyard.cli.command import Failure
from tuneyard.cli.describe import ending
from tuneyard.cli.session import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, Session
from tuneyard.cli.views import LineView, LiveView, OutageNotes, QueueView, View
from tuneyard.client import TuneyardError
from tuneyard.v1 import event_pb2, job_pb2

State: TypeAlias = "job_pb2.JobState.ValueType"
_LOOK_AT_QUEUE_SECONDS = 2.0


def follow(session: Session, name: str, *, after: int = 0, end_with_job: bool = False) -> int:
    """Follows a job until it is terminal; returns the exit code that its end means.

    After an interrupt the job goes on, and the caller is told how to come back.
    """
    job = session.client.job(name)
    state = job.refresh().state  # an unknown job is an error before anything is drawn
    reached = after
    try:
        if session.json:
            with (
                _looking_at_queue(session, OutageNotes(session.err), job.name),
                closing(job.watch(after=after)) as events,
            ):
                for event in events:
                    reached, state = event.sequence, _state_after([event], state)
                    session.document(event)
        else:
            view: View = LiveView(session.out) if session.is_terminal else LineView(session.out)
            with (
                view,
                _looking_at_queue(session, view, job.name),
                closing(job.watch_batches(after=after)) as batches,
            ):
                for batch in batches:
                    reached, state = batch[-1].sequence, _state_after(batch, state)
                    view.show(batch)
    except KeyboardInterrupt:
        session.err.print(_left(session, name, state, reached))
        return EXIT_INTERRUPTED
    ended = job.refresh()
    if session.json and end_with_job:
        session.document(ended)
    if not session.json:
        session.out.print(ending(ended, server_option=session.server_option))
    return EXIT_OK if ended.state == job_pb2.JOB_STATE_SUCCEEDED else EXIT_FAILED


def follow_to_success(session: Session, name: str) -> None:
    """Follows a job whose result is needed next; Failure where there is none."""
    code = follow(session, name)
    if code == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    if code != EXIT_OK:
        raise Failure(f"{name} did not succeed", code=code)


def _state_after(events: Iterable[event_pb2.JobEvent], state: State) -> State:
    changes = [event.state_change.to for event in events if event.HasField("state_change")]
    return changes[-1] if changes else state


def _left(session: Session, name: str, state: State, reached: int) -> str:
    """What becomes of a job that is followed no longer, and how to come back to it."""
    identifier = name.removeprefix("jobs/")
    server = session.server_option
    after = f" --after {reached}" if session.json and reached else ""
    watch = f"\n  → tuneyard watch {identifier}{after}{server}"
    if state == job_pb2.JOB_STATE_PAUSED:
        resume = f"\n  → tuneyard jobs resume {identifier}{server}"
        return f"jobs/{identifier} is paused. Let it go on, and come back, with:{resume}{watch}"
    return f"jobs/{identifier} goes on. Come back with:{watch}"


@contextmanager
def _looking_at_queue(session: Session, view: QueueView, name: str) -> Iterator[None]:
    """Tells the view what is no event: the place in the queue, and a server that does not answer."""
    over = threading.Event()

    def look() -> None:
        while True:
            try:
                job = session.client.jobs.get(name)
            except TuneyardError as error:
                if not over.is_set():
                    view.away(error.message)
            else:
                if not over.is_set():
                    view.waiting(job)
            if over.wait(_LOOK_AT_QUEUE_SECONDS):
                return

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join(_LOOK_AT_QUEUE_SECONDS)
