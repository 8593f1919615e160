"""Faults that tests inject into a run. A worker has a plan only where its settings carry one.

A plan is a list of faults, separated by commas:

    oom@step=7            MemoryError at that point, once; "oom@step=7x3": the first three times
    crash@step=5          SIGKILL to the process itself
    exception@evaluate    RuntimeError
    slow_step=0.05        sleeps so many seconds at every "step=…" point
    store_down=2s         the store does not answer for the first two seconds of the run

"#2" behind a fault limits it to the run's second attempt.
"""

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

_FAULT = re.compile(
    r"(?:(?P<kind>oom|crash|exception)@(?P<point>[a-z_]+(?:=\d+)?)(?:x(?P<times>\d+))?"
    r"|(?P<setting>slow_step|store_down)=(?P<seconds>\d+(?:\.\d+)?)s?)(?:#(?P<attempt>\d+))?"
)


@dataclass(frozen=True)
class PointFault:
    """What happens the first `times` times that a point is reached."""

    kind: str
    times: int


class Faults:
    """A parsed plan of one attempt, with the count of what has happened already."""

    def __init__(
        self, plan: str = "", *, attempt: int = 1, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Raises ValueError for a plan that cannot be read."""
        self.slow_step_seconds = 0.0
        self.store_down_seconds = 0.0
        self._points: dict[str, PointFault] = {}
        self._seen: Counter[str] = Counter()
        self._sleep = sleep
        for text in filter(None, (part.strip() for part in plan.split(","))):
            self._add(text, attempt)

    def _add(self, text: str, attempt: int) -> None:
        match = _FAULT.fullmatch(text)
        if match is None:
            raise ValueError(f"not a fault: {text!r}")
        if match["attempt"] and int(match["attempt"]) != attempt:
            return
        if match["setting"] == "slow_step":
            self.slow_step_seconds = float(match["seconds"])
        elif match["setting"] == "store_down":
            self.store_down_seconds = float(match["seconds"])
        else:
            self._points[match["point"]] = PointFault(match["kind"], int(match["times"] or 1))

    def __bool__(self) -> bool:
        return bool(self._points or self.slow_step_seconds or self.store_down_seconds)

    def reach(self, point: str) -> None:
        """Does what the plan says about this point."""
        if self.slow_step_seconds and point.startswith("step="):
            self._sleep(self.slow_step_seconds)
        fault = self._points.get(point)
        if fault is None:
            return
        self._seen[point] += 1
        if self._seen[point] > fault.times:
            return
        if fault.kind == "oom":
            raise MemoryError(f"injected at {point}")
        if fault.kind == "exception":
            raise RuntimeError(f"injected at {point}")
        os.kill(os.getpid(), signal.SIGKILL)
