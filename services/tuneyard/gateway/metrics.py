"""Metric curves as columns, read from the event log and kept for the jobs that people look at.

The log stays the truth: a column is extended from the sequence it reaches, never edited.
"""

import math
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final, Protocol

from tuneyard.v1 import event_pb2, training_service_pb2

PAGE: Final = 500
"""Events that are read at once: everything else waits for the milliseconds that they take."""


class MetricLog(Protocol):
    """What is read from the repository."""

    async def metric_events_after(
        self, job_id: str, sequence: int, limit: int
    ) -> Sequence[event_pb2.JobEvent]:
        """Returns at most `limit` committed metrics, and what may void some, beyond `sequence`, in order."""
        ...

    async def last_sequence(self, job_id: str) -> int:
        """Returns the sequence of the job's newest event; JOB_NOT_FOUND."""
        ...


class Curve:
    """All points of one metric."""

    def __init__(self) -> None:
        self.steps = array("q")
        self.values = array("d")
        self.epochs = array("d")
        self.times_ms = array("q")
        self.attempts = array("l")

    def append(self, *, step: int, value: float, epoch: float, time_ms: int, attempt: int) -> None:
        self.steps.append(step)
        self.values.append(value)
        self.epochs.append(epoch)
        self.times_ms.append(time_ms)
        self.attempts.append(attempt)

    def cut(self, after_step: int) -> None:
        """Drops the points beyond a step from which the work was taken up again."""
        keep = len(self.steps)
        while keep and self.steps[keep - 1] > after_step:
            keep -= 1
        for column in (self.steps, self.values, self.epochs, self.times_ms, self.attempts):
            del column[keep:]

    def column(self, name: str, max_points: int) -> training_service_pb2.MetricColumn:
        count = len(self.steps)
        chosen = _extremes(self.values, max_points)

        def pick(column: "array[Any]") -> Sequence[Any]:
            return column if len(chosen) == count else [column[i] for i in chosen]

        return training_service_pb2.MetricColumn(
            name=name,
            steps=pick(self.steps),
            values=pick(self.values),
            epochs=pick(self.epochs),
            times_ms=pick(self.times_ms),
            attempts=pick(self.attempts),
            point_count=count,
        )


def _extremes(values: Sequence[float], max_points: int) -> Sequence[int]:
    """Returns indices in order: both ends, and the least and greatest of each interval: no spike is lost."""
    count = len(values)
    if not max_points or count <= max_points:
        return range(count)
    intervals = max(1, (max_points - 2) // 2)
    chosen = {0, count - 1}
    for interval in range(intervals):
        start, end = interval * count // intervals, (interval + 1) * count // intervals
        piece = values[start:end]
        if math.isnan(sum(piece)):
            # A NaN compares false with everything: it would hide the true extremes around it.
            piece = [value for value in piece if not math.isnan(value)]
        if piece:
            chosen.update(values.index(extreme(piece), start, end) for extreme in (min, max))
        elif end > start:
            chosen.add(start)
    return sorted(chosen)[: max(max_points, 2)]


class JobCurves:
    """The curves of one job up to a sequence."""

    def __init__(self) -> None:
        self.sequence = 0
        self.curves: dict[str, Curve] = {}

    @property
    def points(self) -> int:
        """Returns how many points all curves have."""
        return sum(len(curve.steps) for curve in self.curves.values())

    def extend(self, events: Sequence[event_pb2.JobEvent]) -> None:
        for event in events:
            if event.HasField("state_change"):
                if event.state_change.HasField("resumed_from_step"):
                    self._cut(event.state_change.resumed_from_step)
            elif event.HasField("rolled_back"):
                self._cut(event.rolled_back.to_step)
            elif event.HasField("metrics"):
                time_ms = event.time.ToMilliseconds()
                for name, value in event.metrics.values.items():
                    self.curves.setdefault(name, Curve()).append(
                        step=event.metrics.step,
                        value=value,
                        epoch=event.metrics.epoch,
                        time_ms=time_ms,
                        attempt=event.attempt,
                    )

    def _cut(self, after_step: int) -> None:
        for curve in self.curves.values():
            curve.cut(after_step)


class Metrics:
    """The curves of the jobs that were asked for last."""

    def __init__(self, log: MetricLog, *, jobs_kept: int = 32, points_kept: int = 1_000_000) -> None:
        """A point takes 40 bytes; the job that was asked for last is kept whatever its size."""
        self._log = log
        self._jobs_kept = jobs_kept
        self._points_kept = points_kept
        self._jobs: OrderedDict[str, JobCurves] = OrderedDict()

    async def columns(
        self, name: str, metrics: Sequence[str], max_points: int
    ) -> training_service_pb2.GetJobMetricsResponse:
        """Returns the curves by name, downsampled, and the sequence that they reach. JOB_NOT_FOUND."""
        job_id = name.removeprefix("jobs/")
        reached = await self._log.last_sequence(job_id)
        known = self._jobs.setdefault(job_id, JobCurves())
        self._jobs.move_to_end(job_id)
        while known.sequence < reached:
            await self._read_page(known, job_id, reached)
        self._make_room()
        wanted = metrics or sorted(known.curves)
        return training_service_pb2.GetJobMetricsResponse(
            columns=[known.curves[each].column(each, max_points) for each in wanted if each in known.curves],
            last_sequence=known.sequence,
        )

    async def _read_page(self, known: JobCurves, job_id: str, reached: int) -> None:
        after = known.sequence
        events = await self._log.metric_events_after(job_id, after, PAGE)
        # Another call may have extended the same curves while this one read.
        if known.sequence == after:
            known.extend(events)
            last = events[-1].sequence if events else reached
            known.sequence = last if len(events) == PAGE else max(last, reached)

    def _make_room(self) -> None:
        points = sum(job.points for job in self._jobs.values())
        while len(self._jobs) > 1 and (len(self._jobs) > self._jobs_kept or points > self._points_kept):
            _, oldest = self._jobs.popitem(last=False)
            points -= oldest.points
