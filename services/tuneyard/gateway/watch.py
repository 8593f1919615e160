"""Hands committed events to subscribers: one shared log per watched job, a cursor per subscriber.

An event enters as wire bytes when its transaction has committed and is never serialized again. Nothing is
kept for good: what a cursor asks for beyond the window is read from the database.
"""

import asyncio
import builtins
import contextlib
import itertools
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Protocol

from tuneyard.gateway.edits import used_dataset
from tuneyard.gateway.jobs import Committed
from tuneyard.gateway.kinds import task_kind
from tuneyard.gateway.transitions import TERMINAL
from tuneyard.rpc.errors import TuneyardError, invalid
from tuneyard.v1 import job_pb2, training_service_pb2

MESSAGE_BYTES = 1 << 20
"""The size of a message, but for one that holds a single event: clients take 4 MiB by default."""
JOBS_IN_MESSAGE = 100
MESSAGES_KEPT = 32
BETWEEN_CHANGES_SECONDS = 0.1
BETWEEN_QUEUES_SECONDS = 1.0

Chunk = tuple[int, bytes]
Message = tuple[bytes, int]
"""A serialized WatchJobResponse and the sequence that it reaches."""


def joined(chunks: Iterable[Chunk]) -> Message:
    """Returns as many of the chunks, in order and at least one, as a message may hold."""
    pieces: list[bytes] = []
    size_bytes = reached = 0
    for sequence, chunk in chunks:
        size_bytes += len(chunk)
        if pieces and size_bytes > MESSAGE_BYTES:
            break
        pieces.append(chunk)
        reached = sequence
    return b"".join(pieces), reached


class JobLog(Protocol):
    """What the hub reads from the repository."""

    async def get(self, name: str) -> job_pb2.Job:
        """Returns one job with its place in the queue; JOB_NOT_FOUND."""
        ...

    async def list(
        self, job_filter: training_service_pb2.JobFilter, *, page_size: int, page_token: str
    ) -> tuple[Sequence[job_pb2.Job], str, int]:
        """Returns a page of jobs, the next page's token and how many match in all."""
        ...

    async def events_after(self, job_id: str, sequence: int, limit: int) -> builtins.list[Chunk]:
        """Returns committed events beyond `sequence` as wire bytes, in order."""
        ...


class Tail:
    """The newest events of one watched job, held for all of its subscribers."""

    def __init__(self, *, window: int, keepalive_seconds: float) -> None:
        self.last: int | None = None
        self.terminal = False
        self.subscribers = 0
        self._chunks: deque[bytes] = deque(maxlen=window)
        self._changed = asyncio.Event()
        self._keepalive = keepalive_seconds
        self._loop = asyncio.get_running_loop()
        self._woken = self._loop.time()
        # One timer for all subscribers: a time-out of each for each event costs more than the event.
        self._timer = self._loop.call_later(keepalive_seconds, self._wake_idle)
        self._joined: dict[int, Message] = {}
        self.refill_lock = asyncio.Lock()

    def append(self, chunks: Sequence[Chunk]) -> bool:
        """Adds what is new; False if something before it is missing and must be read from the database."""
        if self.last is None and chunks:
            self.last = chunks[0][0] - 1
        fresh = [(sequence, chunk) for sequence, chunk in chunks if sequence > (self.last or 0)]
        if not fresh:
            return True
        if fresh[0][0] != (self.last or 0) + 1:
            return False
        self._chunks.extend(chunk for _, chunk in fresh)
        self.last = fresh[-1][0]
        self.wake()
        return True

    def wake(self) -> None:
        self._joined.clear()
        self._woken = self._loop.time()
        self._changed.set()
        self._changed = asyncio.Event()

    def close(self) -> None:
        self._timer.cancel()

    def take(self, cursor: int) -> Message | None:
        """Returns the events after `cursor` as one message; None if the window does not reach back so far."""
        first = (self.last or 0) - len(self._chunks) + 1
        if cursor + 1 < first:
            return None
        if cursor not in self._joined:
            if len(self._joined) >= MESSAGES_KEPT:
                # Those who are up to date share one cursor; these are of many slow ones.
                self._joined.clear()
            later = itertools.islice(self._chunks, cursor + 1 - first, None)
            self._joined[cursor] = joined(enumerate(later, start=cursor + 1))
        return self._joined[cursor]

    async def changed(self) -> bool:
        """Waits for new events; False if none came for as long as a stream may be silent."""
        last = self.last
        await self._changed.wait()
        return self.terminal or self.last != last

    def _wake_idle(self) -> None:
        silent = self._loop.time() - self._woken
        if silent >= self._keepalive:
            self.wake()
            silent = 0.0
        self._timer = self._loop.call_later(self._keepalive - silent, self._wake_idle)


class JobsFeed:
    """One subscriber to whole jobs: the names that changed since it was last served."""

    def __init__(self) -> None:
        self.dirty: OrderedDict[str, None] = OrderedDict()
        self.queue_moved = False
        self.signal = asyncio.Event()
        self._queue_read = float("-inf")

    def mark(self, name: str, *, queue_moved: bool) -> None:
        self.dirty[name] = None
        self.queue_moved = self.queue_moved or queue_moved
        self.signal.set()

    def drain(self) -> tuple[list[str], bool]:
        """Returns the names, and whether places in the queue are to be read: now and then, not each time."""
        names, reads = list(self.dirty), self.queue_moved and self._queue_due() <= 0
        self.dirty.clear()
        self.signal.clear()
        if reads:
            self.queue_moved, self._queue_read = False, time.monotonic()
        return names, reads

    async def changed(self, within: float) -> bool:
        """Waits for something to tell; False if nothing came in time."""
        try:
            async with asyncio.timeout(min(within, self._queue_due()) if self.queue_moved else within):
                await self.signal.wait()
        except TimeoutError:
            return self.queue_moved
        return True

    def _queue_due(self) -> float:
        return max(0.0, self._queue_read + BETWEEN_QUEUES_SECONDS - time.monotonic())


class WatchHub:
    """All subscribers of this gateway."""

    def __init__(self, log: JobLog, *, keepalive_seconds: float = 15.0, window: int = 4096) -> None:
        self._log = log
        self._keepalive = keepalive_seconds
        self._window = window
        self._tails: dict[str, Tail] = {}
        self._feeds: set[JobsFeed] = set()
        self._refills: set[asyncio.Task[None]] = set()

    def on_commit(self, committed: Committed) -> None:
        """Takes what a transaction of this process has just committed."""
        name = committed.job.name
        moved = any(event.HasField("state_change") for event in committed.events)
        for feed in self._feeds:
            feed.mark(name, queue_moved=moved)
        if tail := self._tails.get(name):
            chunks = [(e.sequence, c) for e, c in zip(committed.events, committed.chunks, strict=True)]
            if tail.append(chunks):
                self._settle(tail, committed.job)
            else:
                # Another transaction committed before this one and has not told of it yet.
                task = asyncio.create_task(self._refill(name, tail))
                self._refills.add(task)
                task.add_done_callback(self._refills.discard)

    def on_delete(self, name: str) -> None:
        """Tells the subscribers to whole jobs that one is gone."""
        for feed in self._feeds:
            feed.mark(name, queue_moved=False)

    async def poke(self, name: str, last_sequence: int) -> None:
        """Learns that some gateway has committed up to `last_sequence` of a job."""
        tail = self._tails.get(name)
        if tail is not None and (tail.last or 0) >= last_sequence:
            return
        for feed in self._feeds:
            feed.mark(name, queue_moved=True)
        if tail is not None:
            await self._refill(name, tail)

    async def poll(self) -> None:
        """Looks for commits of other gateways whose notification was lost."""
        for name, tail in list(self._tails.items()):
            if not tail.terminal:
                await self._refill(name, tail)
        for feed in self._feeds:
            feed.queue_moved = True
            feed.signal.set()

    async def watch(self, name: str, after_sequence: int) -> AsyncIterator[bytes]:
        """Yields serialized WatchJobResponses: what is committed, then what comes, up to the terminal event.

        An empty message keeps an idle stream alive. JOB_NOT_FOUND; INVALID_FIELD for a sequence to come.
        """
        with self._joined(name) as tail:
            job = await self._log.get(name)
            if after_sequence > job.last_sequence and after_sequence > (tail.last or 0):
                raise invalid("after_sequence", f"must be at most {job.last_sequence}, the newest sequence")
            if tail.last is None:
                tail.last = job.last_sequence
            self._settle(tail, job)
            async for message in self._follow(name, tail, after_sequence):
                yield message

    async def _follow(self, name: str, tail: Tail, cursor: int) -> AsyncIterator[bytes]:
        while True:
            if cursor < (tail.last or 0):
                message = tail.take(cursor)
                if message is None:
                    chunks = await self._log.events_after(name.removeprefix("jobs/"), cursor, 500)
                    if not chunks:
                        raise TuneyardError("JOB_NOT_FOUND", f"{name} was deleted", resource=name)
                    message = joined(chunks)
                yield message[0]
                cursor = message[1]
            elif tail.terminal:
                return
            elif not await tail.changed():
                yield b""

    async def watch_jobs(
        self, job_filter: training_service_pb2.JobFilter
    ) -> AsyncIterator[training_service_pb2.WatchJobsResponse]:
        """Yields the current jobs that match, then each that changed, at most ten messages a second."""
        feed = JobsFeed()
        self._feeds.add(feed)
        shown: dict[str, int] = {}
        try:
            async for response in self._snapshot(job_filter, shown):
                yield response
            while True:
                if not await feed.changed(self._keepalive):
                    yield training_service_pb2.WatchJobsResponse()
                    continue
                await asyncio.sleep(BETWEEN_CHANGES_SECONDS)
                async for response in self._changes(feed, job_filter, shown):
                    yield response
        finally:
            self._feeds.discard(feed)

    async def _snapshot(
        self, job_filter: training_service_pb2.JobFilter, shown: dict[str, int]
    ) -> AsyncIterator[training_service_pb2.WatchJobsResponse]:
        token = ""
        while True:
            jobs, token, _ = await self._log.list(job_filter, page_size=JOBS_IN_MESSAGE, page_token=token)
            shown.update((job.name, job.queue_position) for job in jobs)
            yield training_service_pb2.WatchJobsResponse(jobs=jobs, snapshot_complete=not token)
            if not token:
                return

    async def _changes(
        self, feed: JobsFeed, job_filter: training_service_pb2.JobFilter, shown: dict[str, int]
    ) -> AsyncIterator[training_service_pb2.WatchJobsResponse]:
        """Yields jobs that changed, and those whose place in the queue did; `shown` has the places told."""
        names, reads_queue = feed.drain()
        queue = {job.name: job async for job in self._queued(job_filter)} if reads_queue else {}
        moved = [name for name, job in queue.items() if shown.get(name) != job.queue_position]
        response, size_bytes = training_service_pb2.WatchJobsResponse(), 0
        for name in dict.fromkeys((*names, *moved)):
            job = queue.get(name) or await self._found(name)
            if job is None:
                if shown.pop(name, None) is not None:
                    response.deleted.append(name)
            elif name in shown or matches(job, job_filter):
                size_bytes += job.ByteSize()
                if response.jobs and (len(response.jobs) >= JOBS_IN_MESSAGE or size_bytes > MESSAGE_BYTES):
                    yield response
                    response, size_bytes = training_service_pb2.WatchJobsResponse(), job.ByteSize()
                shown[name] = job.queue_position
                response.jobs.append(job)
        if response.jobs or response.deleted:
            yield response

    async def _queued(self, job_filter: training_service_pb2.JobFilter) -> AsyncIterator[job_pb2.Job]:
        """All waiting jobs that the filter would show in some state, with their places."""
        wanted = training_service_pb2.JobFilter()
        wanted.CopyFrom(job_filter)
        wanted.states[:] = [job_pb2.JOB_STATE_QUEUED]
        token = ""
        while True:
            jobs, token, _ = await self._log.list(wanted, page_size=1000, page_token=token)
            for job in jobs:
                yield job
            if not token:
                return

    async def _found(self, name: str) -> job_pb2.Job | None:
        try:
            return await self._log.get(name)
        except TuneyardError as error:
            # A database that does not answer deletes no job: the stream ends, and its reader comes back.
            if error.reason != "JOB_NOT_FOUND":
                raise
            return None

    @contextlib.contextmanager
    def _joined(self, name: str) -> Iterator[Tail]:
        tail = self._tails.get(name)
        if tail is None:
            tail = Tail(window=self._window, keepalive_seconds=self._keepalive)
            self._tails[name] = tail
        tail.subscribers += 1
        try:
            yield tail
        finally:
            tail.subscribers -= 1
            if not tail.subscribers:
                self._tails.pop(name, None)
                tail.close()

    async def _refill(self, name: str, tail: Tail) -> None:
        async with tail.refill_lock:
            if tail.last is None:
                return
            with contextlib.suppress(TuneyardError):
                job = await self._log.get(name)
                while (tail.last or 0) < job.last_sequence:
                    chunks = await self._log.events_after(name.removeprefix("jobs/"), tail.last or 0, 500)
                    if not chunks or not tail.append(chunks):
                        break
                self._settle(tail, job)

    @staticmethod
    def _settle(tail: Tail, job: job_pb2.Job) -> None:
        if job.state in TERMINAL and (tail.last or 0) >= job.last_sequence:
            tail.terminal = True
            tail.wake()


def matches(job: job_pb2.Job, wanted: training_service_pb2.JobFilter) -> bool:
    """Tells whether a job meets every condition that is set."""
    return (
        (not wanted.states or job.state in wanted.states)
        and (not wanted.families or job.family in wanted.families)
        and (not wanted.tasks or task_kind(job) in wanted.tasks)
        and (not wanted.dataset or used_dataset(job) == wanted.dataset)
        and all(job.labels.get(key) == value for key, value in wanted.labels.items())
        and (
            not wanted.HasField("created_after")
            or job.create_time.ToNanoseconds() >= wanted.created_after.ToNanoseconds()
        )
        and (
            not wanted.HasField("created_before")
            or job.create_time.ToNanoseconds() < wanted.created_before.ToNanoseconds()
        )
    )
