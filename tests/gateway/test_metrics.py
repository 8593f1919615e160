"""Curves from the event log: complete, no spike lost by downsampling, repeats of old attempts omitted."""

import asyncio
import math
from collections.abc import Sequence

import pytest

from tuneyard.gateway.metrics import PAGE, Metrics
from tuneyard.v1 import event_pb2


class Log:
    """Events in memory, as the repository gives them."""

    def __init__(self) -> None:
        self.events: list[event_pb2.JobEvent] = []

    def add(self, **body: object) -> None:
        attempt = body.pop("attempt", 1)
        self.events.append(
            event_pb2.JobEvent(sequence=len(self.events) + 1, attempt=attempt, **body)  # type: ignore[arg-type]
        )

    def point(self, step: int, value: float, *, attempt: int = 1) -> None:
        self.add(metrics=event_pb2.MetricsEvent(step=step, values={"train/loss": value}), attempt=attempt)

    async def last_sequence(self, job_id: str) -> int:
        return len(self.events)

    async def metric_events_after(
        self, job_id: str, sequence: int, limit: int
    ) -> Sequence[event_pb2.JobEvent]:
        await asyncio.sleep(0)
        return self.events[sequence : sequence + limit]


async def test_all_points_come_in_order_with_the_sequence_that_they_reach() -> None:
    log = Log()
    for step in range(10):
        log.point(step, 1 / (step + 1))
    response = await Metrics(log).columns("jobs/a", [], 0)
    assert list(response.columns[0].steps) == list(range(10))
    assert response.last_sequence == 10


async def test_a_second_call_adds_what_came_since() -> None:
    log = Log()
    metrics = Metrics(log)
    log.point(1, 0.5)
    await metrics.columns("jobs/a", [], 0)
    log.point(2, 0.4)
    response = await metrics.columns("jobs/a", [], 0)
    assert list(response.columns[0].values) == [0.5, 0.4]


async def test_points_that_a_later_attempt_repeats_are_left_out() -> None:
    log = Log()
    for step in range(1, 8):
        log.point(step, step)
    log.add(state_change=event_pb2.StateChangeEvent(resumed_from_step=4), attempt=2)
    for step in range(5, 10):
        log.point(step, -step, attempt=2)
    column = (await Metrics(log).columns("jobs/a", [], 0)).columns[0]
    assert list(column.steps) == list(range(1, 10))
    assert list(column.attempts) == [1] * 4 + [2] * 5


async def test_points_beyond_a_rollback_are_left_out() -> None:
    log = Log()
    for step in range(1, 8):
        log.point(step, step)
    log.add(rolled_back=event_pb2.RolledBackEvent(from_step=7, to_step=4))
    log.point(5, -5)
    column = (await Metrics(log).columns("jobs/a", [], 0)).columns[0]
    assert list(column.values) == [1, 2, 3, 4, -5]


@pytest.mark.parametrize("max_points", [10, 101, 1000])
async def test_a_single_spike_survives_downsampling(max_points: int) -> None:
    log = Log()
    for step in range(20_000):
        log.point(step, 1000.0 if step == 12_345 else math.sin(step / 500))
    column = (await Metrics(log).columns("jobs/a", [], max_points)).columns[0]
    assert len(column.steps) <= max_points
    assert max(column.values) == 1000.0
    assert (column.steps[0], column.steps[-1]) == (0, 19_999)
    assert column.point_count == 20_000


async def test_nan_hides_no_extreme_around_it() -> None:
    log = Log()
    for step in range(1000):
        log.point(step, math.nan if step % 3 == 0 else (50.0 if step == 500 else 1.0))
    column = (await Metrics(log).columns("jobs/a", [], 20)).columns[0]
    assert 50.0 in list(column.values)


async def test_a_stretch_of_nothing_but_nan_is_shown() -> None:
    log = Log()
    for step in range(1000):
        log.point(step, math.nan if step >= 500 else 1.0)
    column = (await Metrics(log).columns("jobs/a", [], 20)).columns[0]
    assert any(math.isnan(value) for value in column.values)


async def test_long_curves_are_read_page_by_page_while_others_have_their_turn() -> None:
    log = Log()
    for step in range(10 * PAGE + 1):
        log.point(step, step)
    metrics, turns = Metrics(log), 0
    readers = [asyncio.create_task(metrics.columns("jobs/a", [], 0)) for _ in range(2)]
    while not all(reader.done() for reader in readers):
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 10
    for reader in readers:
        assert list(reader.result().columns[0].steps) == list(range(10 * PAGE + 1))


async def test_only_the_metrics_asked_for_come() -> None:
    log = Log()
    log.add(metrics=event_pb2.MetricsEvent(step=1, values={"a": 1.0, "b": 2.0}))
    response = await Metrics(log).columns("jobs/a", ["b", "none"], 0)
    assert [column.name for column in response.columns] == ["b"]


async def test_the_points_that_are_kept_in_memory_are_limited() -> None:
    log = Log()
    for step in range(10):
        log.point(step, 1.0)
    asked: list[int] = []
    read = log.metric_events_after

    async def counted(job_id: str, sequence: int, limit: int) -> Sequence[event_pb2.JobEvent]:
        asked.append(sequence)
        return await read(job_id, sequence, limit)

    log.metric_events_after = counted  # type: ignore[method-assign]
    metrics = Metrics(log, points_kept=15)
    for name in ("jobs/a", "jobs/b", "jobs/b", "jobs/a"):
        await metrics.columns(name, [], 0)
    assert asked == [0, 0, 0]
