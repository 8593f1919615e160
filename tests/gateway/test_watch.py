"""Subscribers read the committed log from any cursor, without gaps, and are told when it ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from typing import TypeVar

import pytest

from tests.support.ledger import LedgerDriver
from tuneyard.gateway.watch import MESSAGE_BYTES, WatchHub
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import event_pb2, job_pb2, training_pb2, training_service_pb2

T = TypeVar("T")


def soon(work: Awaitable[T]) -> Awaitable[T]:
    return asyncio.wait_for(work, 60)


def sequences(message: bytes) -> list[int]:
    return [e.sequence for e in training_service_pb2.WatchJobResponse.FromString(message).events]


async def collect(stream: AsyncIterator[bytes]) -> list[int]:
    found: list[int] = []
    async for message in stream:
        found += sequences(message)
    return found


async def start(ledger: LedgerDriver, job: str) -> int:
    attempt = await ledger.open(job)
    await ledger.write(job, attempt, ledger.started())
    return attempt


async def run_to_success(ledger: LedgerDriver, job: str, *, metrics: int) -> None:
    attempt = await start(ledger, job)
    for step in range(metrics):
        await ledger.write(job, attempt, ledger.metrics(step, train_loss=1.0))
    await ledger.write(job, attempt, ledger.result())


@pytest.fixture
def hub(ledger: LedgerDriver) -> WatchHub:
    hub = WatchHub(ledger.jobs, keepalive_seconds=0.05)
    ledger.listeners.append(hub.on_commit)
    return hub


async def test_a_watch_replays_then_follows_and_ends_after_the_terminal_event(
    ledger: LedgerDriver, hub: WatchHub
) -> None:
    job = await ledger.create()
    reading = asyncio.create_task(collect(hub.watch(job, 0)))
    await run_to_success(ledger, job, metrics=50)
    found = await soon(reading)
    assert found == list(range(1, (await ledger.jobs.get(job)).last_sequence + 1))


async def test_a_watch_resumes_after_the_last_sequence(ledger: LedgerDriver, hub: WatchHub) -> None:
    job = await ledger.create()
    await run_to_success(ledger, job, metrics=20)
    last = (await ledger.jobs.get(job)).last_sequence
    assert await soon(collect(hub.watch(job, 7))) == list(range(8, last + 1))
    assert await soon(collect(hub.watch(job, last))) == []


async def test_a_sequence_that_is_not_reached_is_refused(ledger: LedgerDriver, hub: WatchHub) -> None:
    job = await ledger.create()
    with pytest.raises(TuneyardError, match="INVALID_FIELD"):
        await soon(collect(hub.watch(job, 99)))


async def test_an_unknown_job_is_not_found(hub: WatchHub) -> None:
    with pytest.raises(TuneyardError, match="JOB_NOT_FOUND"):
        await soon(collect(hub.watch("jobs/none", 0)))


async def test_an_idle_watch_is_kept_alive_by_empty_messages(ledger: LedgerDriver, hub: WatchHub) -> None:
    job = await ledger.create()
    async with aclosing(hub.watch(job, 1)) as stream:  # type: ignore[type-var]
        assert await soon(anext(stream)) == b""


async def test_commits_of_another_gateway_arrive_by_poke_and_by_poll(ledger: LedgerDriver) -> None:
    hub = WatchHub(ledger.jobs, keepalive_seconds=30)
    job = await ledger.create()
    reading = asyncio.create_task(collect(hub.watch(job, 0)))
    attempt = await start(ledger, job)
    await hub.poke(job, (await ledger.jobs.get(job)).last_sequence)
    await ledger.write(job, attempt, ledger.result())
    while not reading.done():
        await hub.poll()
        await asyncio.sleep(0)
    assert await reading == list(range(1, (await ledger.jobs.get(job)).last_sequence + 1))


async def test_a_cursor_behind_the_window_reads_from_the_database(ledger: LedgerDriver) -> None:
    hub = WatchHub(ledger.jobs, window=4)
    ledger.listeners.append(hub.on_commit)
    job = await ledger.create()
    reading = asyncio.create_task(collect(hub.watch(job, 0)))
    await run_to_success(ledger, job, metrics=100)
    found = await soon(reading)
    assert found == list(range(1, len(found) + 1))


async def test_whole_jobs_come_first_as_they_are_and_then_as_they_change(
    ledger: LedgerDriver, hub: WatchHub
) -> None:
    first = await ledger.create()
    wanted = training_service_pb2.JobFilter()
    async with aclosing(hub.watch_jobs(wanted)) as stream:  # type: ignore[type-var]
        snapshot = await soon(anext(stream))
        assert snapshot.snapshot_complete
        assert [job.name for job in snapshot.jobs] == [first]
        second = await ledger.create()
        await start(ledger, first)
        seen: dict[str, job_pb2.Job] = {}
        while second not in seen or seen[first].state != job_pb2.JOB_STATE_RUNNING:
            seen |= {job.name: job for job in (await soon(anext(stream))).jobs}
        assert seen[second].queue_position == 1


async def test_messages_of_large_jobs_are_as_large_as_readers_take(
    ledger: LedgerDriver, hub: WatchHub
) -> None:
    spec = job_pb2.JobSpec(training=training_pb2.TrainingSpec(base_model_revision="r" * 600_000))
    names = {(await ledger.jobs.create(job_pb2.Job(spec=spec))).name for _ in range(3)}
    seen: set[str] = set()
    async with aclosing(hub.watch_jobs(training_service_pb2.JobFilter())) as stream:  # type: ignore[type-var]
        while seen != names:
            snapshot = await soon(anext(stream))
            seen |= {job.name for job in snapshot.jobs}
            assert snapshot.ByteSize() < MESSAGE_BYTES
            assert snapshot.snapshot_complete == (seen == names)
        for name in names:
            await ledger.jobs.request_cancel(name)
        told: set[str] = set()
        while told != names:
            changes = await soon(anext(stream))
            told |= {job.name for job in changes.jobs if job.state == job_pb2.JOB_STATE_CANCELLED}
            assert changes.ByteSize() < MESSAGE_BYTES


async def test_a_new_evaluation_is_told_to_those_who_watch_its_dataset(
    ledger: LedgerDriver, hub: WatchHub
) -> None:
    wanted = training_service_pb2.JobFilter(dataset="datasets/cats")
    spec = job_pb2.EvaluateSpec(source_job="jobs/1", dataset="datasets/cats")
    async with aclosing(hub.watch_jobs(wanted)) as stream:  # type: ignore[type-var]
        await soon(anext(stream))
        created = await ledger.jobs.create(job_pb2.Job(spec=job_pb2.JobSpec(evaluate=spec)))
        told = (await soon(anext(stream))).jobs
    assert [job.name for job in told] == [created.name]
    listed, _, _ = await ledger.jobs.list(wanted, page_size=0, page_token="")
    assert [job.name for job in listed] == [created.name]


async def test_a_message_stays_below_what_clients_take(ledger: LedgerDriver, hub: WatchHub) -> None:
    job = await ledger.create()
    attempt = await start(ledger, job)
    lines = [{"log": event_pb2.LogEvent(message="x" * 8000)} for _ in range(400)]
    async with aclosing(hub.watch(job, 0)) as stream:  # type: ignore[type-var]
        await soon(anext(stream))
        await ledger.write(job, attempt, *lines, ledger.result())
        live = [message async for message in stream]
    replayed = [message async for message in hub.watch(job, 0)]
    assert len(live) > 1
    assert max(len(message) for message in (*live, *replayed)) <= 1 << 20
    assert sum(len(sequences(message)) for message in replayed) == 405


async def test_a_database_that_does_not_answer_deletes_no_job(
    ledger: LedgerDriver, hub: WatchHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await ledger.create()

    async def fails(name: str) -> job_pb2.Job:
        raise TuneyardError("DATABASE_UNAVAILABLE", "the database does not answer")

    async with aclosing(hub.watch_jobs(training_service_pb2.JobFilter())) as stream:  # type: ignore[type-var]
        await soon(anext(stream))
        await start(ledger, job)
        monkeypatch.setattr(ledger.jobs, "get", fails)
        with pytest.raises(TuneyardError, match="DATABASE_UNAVAILABLE"):
            await soon(anext(stream))


async def test_places_in_a_long_queue_are_read_together(
    ledger: LedgerDriver, hub: WatchHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = [await ledger.create() for _ in range(30)]
    asked: list[str] = []
    get = ledger.jobs.get

    async def counted(name: str) -> job_pb2.Job:
        asked.append(name)
        return await get(name)

    async with aclosing(hub.watch_jobs(training_service_pb2.JobFilter())) as stream:  # type: ignore[type-var]
        await soon(anext(stream))
        monkeypatch.setattr(ledger.jobs, "get", counted)
        await ledger.open(waiting[0])
        places: dict[str, int] = {}
        while places.get(waiting[-1]) != 29:
            places |= {job.name: job.queue_position for job in (await soon(anext(stream))).jobs}
    assert set(asked) == {waiting[0]}
