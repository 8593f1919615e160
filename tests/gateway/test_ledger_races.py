"""Many writers of one job at once, and long random lives of jobs: the log stays whole."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import pytest

from tests.support.ledger import LedgerDriver
from tuneyard.gateway import transitions
from tuneyard.gateway.transitions import WITH_ATTEMPT
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import errors_pb2, event_pb2, job_pb2, trainer_service_pb2


async def test_twenty_concurrent_writers_of_a_job_leave_a_whole_log(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    records = [ledger.record(n, **ledger.metrics(n, train_loss=1.0)) for n in range(2, 102)]

    async def commit(start: int) -> None:
        # Each writer sends all records up to its own end, as a reader does that resumes too early.
        await ledger.jobs.commit_records(ledger.epoch, name, attempt, records[: start + 10])

    async def wish() -> None:
        with contextlib.suppress(TuneyardError):
            await ledger.jobs.request_pause(name)
            await ledger.jobs.request_resume(name)

    await asyncio.gather(*(commit(n) if n % 20 else wish() for n in range(0, 100, 5)))
    await ledger.jobs.commit_records(ledger.epoch, name, attempt, records)
    log = await ledger.log(name)
    steps = [event.metrics.step for event in log if event.HasField("metrics")]
    assert steps == list(range(2, 102))
    assert (await ledger.jobs.get(name)).last_sequence == len(log)


async def test_commits_of_one_job_are_told_in_order_of_their_sequences(ledger: LedgerDriver) -> None:
    name, attempt = await ledger.running()
    records = [ledger.record(n, **ledger.metrics(n, train_loss=1.0)) for n in range(2, 42)]
    calls = [ledger.jobs.commit_records(ledger.epoch, name, attempt, records[:end]) for end in range(1, 41)]
    await asyncio.gather(*calls)
    told = [event.sequence for committed in ledger.commits for event in committed.events]
    if ledger.db.dialect == "postgresql":
        # The server lets the next writer in before it answers the one that has committed.
        told.sort()
    assert told == list(range(1, 44))


async def test_of_all_ends_that_come_at_once_exactly_one_is_committed(ledger: LedgerDriver) -> None:
    for _ in range(10):
        name, attempt = await ledger.running()
        result = [ledger.record(2, **ledger.result())]
        await asyncio.gather(
            ledger.jobs.commit_records(ledger.epoch, name, attempt, result),
            ledger.jobs.request_cancel(name),
            ledger.lose(name, attempt),
            return_exceptions=True,
        )
        terminal = {"SUCCEEDED", "FAILED", "CANCELLED"}
        ends = [state for state in await ledger.states(name) if state in terminal]
        assert len(ends) <= 1
        assert await ledger.jobs.open_attempts() == []


async def test_an_intent_and_a_dispatch_at_once_never_both_win(ledger: LedgerDriver) -> None:
    for _ in range(10):
        name = await ledger.create()
        opened, job = await asyncio.gather(
            ledger.jobs.open_attempt(ledger.epoch, name, trainer_id="t", address="a"),
            ledger.jobs.request_cancel(name),
        )
        expected = job_pb2.JOB_STATE_CANCELLED if opened is None else job_pb2.JOB_STATE_CANCELLING
        assert job.state == expected


class RandomLife:
    """Does random things to a job, then to the next; checks after each that nothing impossible happened."""

    def __init__(self, ledger: LedgerDriver, seed: int) -> None:
        self.ledger = ledger
        self.random = random.Random(seed)
        self.step = 0
        self.name = ""

    async def live(self, steps: int) -> None:
        self.name = await self.ledger.create(batch_size=4)
        for _ in range(steps):
            before = await self.ledger.jobs.get(self.name)
            weights, actions = zip(*self.actions(), strict=True)
            (action,) = self.random.choices(actions, weights)
            with contextlib.suppress(TuneyardError):
                await action()
            await self.check(before)
            if before.state in transitions.TERMINAL:
                self.name = await self.ledger.create(batch_size=4)

    def actions(self) -> list[tuple[int, Callable[[], Awaitable[object]]]]:
        ledger, name = self.ledger, self.name
        jobs, write, epoch = ledger.jobs, self.write, ledger.epoch
        error = errors_pb2.JobError(message="x")
        return [
            (3, lambda: jobs.request_pause(name)),
            (3, lambda: jobs.request_resume(name)),
            (2, lambda: jobs.request_cancel(name)),
            (9, lambda: jobs.open_attempt(epoch, name, trainer_id="t", address="a")),
            (9, lambda: write(ledger.started())),
            (3, lambda: write({"log": event_pb2.LogEvent(message="x")}, ledger.metrics(1, train_loss=1.0))),
            (3, lambda: write(ledger.checkpoint(self.next_step()))),
            (3, lambda: write({"finalizing": trainer_service_pb2.RunFinalizing()})),
            (4, lambda: write(ledger.checkpoint(self.next_step()), ledger.paused(self.step))),
            (1, lambda: write(ledger.cancelled())),
            (2, lambda: write(ledger.result())),
            (1, lambda: write({"failed": error})),
            (1, lambda: jobs.fail(epoch, name, error)),
            (1, lambda: self.withdraw()),
            (2, lambda: self.close()),
            (1, lambda: self.close(exit_code=1)),
            (1, lambda: self.close(signal=9, out_of_memory=True)),
        ]

    def next_step(self) -> int:
        self.step += 1
        return self.step

    async def attempt(self) -> int:
        return (await self.ledger.jobs.get(self.name)).attempt_count

    async def write(self, *bodies: dict[str, object]) -> None:
        open_ = await self.ledger.jobs.open_attempts()
        if open_:
            first = open_[0].run_sequence + 1
            records = [self.ledger.record(first + n, **body) for n, body in enumerate(bodies)]
            await self.ledger.jobs.commit_records(self.ledger.epoch, self.name, open_[0].attempt, records)

    async def withdraw(self) -> None:
        await self.ledger.jobs.withdraw_attempt(self.ledger.epoch, self.name, await self.attempt())

    async def close(self, **exit_: object) -> None:
        await self.ledger.lose(self.name, await self.attempt(), **exit_)

    async def check(self, before: job_pb2.Job) -> None:
        job = await self.ledger.jobs.get(self.name)
        if before.state in transitions.TERMINAL:
            assert job == before
        open_ = [each.attempt for each in await self.ledger.jobs.open_attempts()]
        assert open_ == ([job.attempt_count] if job.state in WITH_ATTEMPT else [])
        assert job.HasField("error") == (job.state == job_pb2.JOB_STATE_FAILED)
        assert job.HasField("end_time") == (job.state in transitions.TERMINAL)
        log = await self.ledger.log(self.name)
        assert job.last_sequence == len(log)
        changes = [event.state_change for event in log if event.HasField("state_change")]
        assert [getattr(change, "from") for change in changes] == [0, *(c.to for c in changes[:-1])]
        assert changes[-1].to == job.state


@pytest.mark.parametrize("seed", range(6))
async def test_a_random_life_never_leaves_the_table(ledger: LedgerDriver, seed: int) -> None:
    await RandomLife(ledger, seed).live(150)
