"""How fast a run goes, and how often it may speak: a rate over the last seconds, and limits on floods."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_SECONDS = 10.0
_SPACING_SECONDS = 0.1


@dataclass(frozen=True)
class _Mark:
    time: float
    units: float
    step: int


class Pace:
    """Units and steps per second over about the last `WINDOW_SECONDS`, or the last few steps if they are
    slow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._units = 0.0
        self._marks: deque[_Mark] = deque()

    def advance(self, step: int, units: float) -> None:
        """Notes progress. The first call is where the measurement begins."""
        now = self._clock()
        if self._marks and step < self._marks[-1].step:
            self._marks.clear()
        if self._marks:
            self._units += units
        mark = _Mark(now, self._units, step)
        # Marks are at least a tenth of a second apart, so that a fast loop keeps a hundred and not a million.
        if len(self._marks) > 1 and now - self._marks[-2].time < _SPACING_SECONDS:
            self._marks[-1] = mark
        else:
            self._marks.append(mark)
        while len(self._marks) > 5 and self._marks[0].time < now - WINDOW_SECONDS:
            self._marks.popleft()

    @property
    def rate(self) -> float:
        """Units per second; 0 until it is known."""
        seconds = self._seconds
        return (self._marks[-1].units - self._marks[0].units) / seconds if seconds else 0.0

    def remaining_seconds(self, steps: int) -> float | None:
        """The time that so many steps will take; None until it is known."""
        seconds = self._seconds
        done = self._marks[-1].step - self._marks[0].step if seconds else 0
        return steps * seconds / done if done else None

    @property
    def _seconds(self) -> float:
        return self._marks[-1].time - self._marks[0].time if len(self._marks) > 1 else 0.0


class TokenBucket:
    """Allows a burst, and then so many a second."""

    def __init__(
        self, *, burst: float, per_second: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._tokens = burst
        self._filled = clock()

    def take(self) -> bool:
        """Whether one more is allowed now."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._per_second)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
