"""From a recipe's reports to journal records: thinned out, in order, with the last values always there.

A report returns once its record is in the journal, or is held back as the newest of a kind that comes too
often.
"""

import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration

from tuneyard.trainer.journal import JournalWriter
from tuneyard.trainer.pace import Pace, TokenBucket
from tuneyard.trainer.records import clean, finite, log_level
from tuneyard.trainer.run import LogLevel
from tuneyard.v1.event_pb2 import LogEvent, MetricsEvent, WarningEvent
from tuneyard.v1.job_pb2 import ProgressEvent
from tuneyard.v1.trainer_service_pb2 import RunRecord

POINT_INTERVAL_SECONDS = 0.1
"""Points of training metrics that are closer in one writing give way to the newer: some ten a second stay."""
WRITE_INTERVAL_SECONDS = 0.1
"""Progress and training metrics are written at most ten times a second, …"""
CPU_WRITE_INTERVAL_SECONDS = 0.5
"""… and twice a second where the CPU trains: each writing is a commit of the gateway, whose time is the
training's where every core trains. At every step, they took 5 % of a training of seven steps a second."""
LOG_BURST_LINES, LOG_LINES_PER_SECOND = 200, 20
_LONGEST_REMAINING_SECONDS = 10 * 365 * 86400


class Wake:
    """Tells the server that a run's journal grew; a server that is away finds out by itself."""

    def __init__(self, path: Path | None, *, name: str) -> None:
        self._path = str(path) if path else ""
        self._name = name.encode()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def __call__(self) -> None:
        if self._path:
            with suppress(OSError):
                self._socket.sendto(self._name, self._path)

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()


class Reporter:
    """The one way from a run to its journal. Thread-safe.

    `flush` writes what is held back; it is called by whoever ends a run, and every so often by a ticker, so
    that a held-back value never waits for the next one.
    """

    def __init__(
        self,
        journal: JournalWriter,
        *,
        wake: Callable[[], None] = lambda: None,
        write_interval_seconds: float = WRITE_INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._write_interval = write_interval_seconds
        self._wake = wake
        self._clock = clock
        self._lock = threading.RLock()
        self._pace = Pace(clock)
        self._log_lines = TokenBucket(burst=LOG_BURST_LINES, per_second=LOG_LINES_PER_SECOND, clock=clock)
        self._left_out = 0
        self._progress: ProgressEvent | None = None
        self._metrics: list[MetricsEvent] = []
        self._written_at = self._point_at = float("-inf")
        self._reported_at = clock()
        self._told: set[str] = set()
        self._closed = False

    @property
    def silence_seconds(self) -> float:
        """Since the last report that shows work: a step, a value, a line, a stage; a warning does not."""
        return self._clock() - self._reported_at

    def record(self, **body: Any) -> None:
        """Writes a record, behind everything that was held back."""
        with self._lock:
            self._reported_at = self._clock()
            self.flush()
            self._append(body)

    def note(self, **body: Any) -> None:
        """Writes a record whose place among the measurements does not matter."""
        with self._lock:
            self._append(body)

    def end(self, **body: Any) -> None:
        """Writes the run's last record; whatever other threads report after it does not exist."""
        with self._lock:
            self.record(**body)
            self._closed = True

    def close(self) -> None:
        """Ends the reports; without a last record where `end` was not called."""
        with self._lock:
            self.flush()
            self._closed = True

    def once(self, key: str) -> bool:
        """True the first time that a key is given."""
        with self._lock:
            if key in self._told:
                return False
            self._told.add(key)
            return True

    def progress(self, event: ProgressEvent, *, units: float) -> None:
        """Completes a progress event with rate and time left, and writes it or holds it back."""
        with self._lock:
            self._reported_at = self._clock()
            self._pace.advance(event.step, units)
            self._progress = event
            self._flush_if_due()

    def metrics(self, *, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Writes measured values; those of training alone are held back where they come too often."""
        measured = finite(values)
        if len(measured) < len(values):
            names = ", ".join(sorted(values.keys() - measured.keys()))
            self.warn("non_finite_metric", f"{names} was not a finite number at step {step} and is left out.")
        if not measured:
            return
        event = MetricsEvent(step=step, epoch=epoch, values=measured)
        with self._lock:
            self._reported_at = self._clock()
            if any(not name.startswith("train/") for name in measured):
                self._flush_metrics()
                self._append({"metrics": event})
                return
            now = self._clock()
            if self._metrics and now - self._point_at < POINT_INTERVAL_SECONDS:
                self._metrics[-1] = event
            else:
                self._metrics.append(event)
                self._point_at = now
            self._flush_if_due()

    def warn(self, code: str, message: str) -> None:
        """Writes a warning, once a code."""
        if self.once(f"warning:{code}"):
            self.note(warning=WarningEvent(code=code, message=clean(message)))

    def log(self, message: str, level: LogLevel) -> None:
        """Writes a line, unless there are too many of them."""
        with self._lock:
            self._reported_at = self._clock()
            if not self._log_lines.take():
                self._left_out += 1
                return
            self._tell_left_out()
            self.note(log=LogEvent(level=log_level(level), message=clean(message)))

    def flush(self) -> None:
        """Writes what is held back."""
        with self._lock:
            self._flush_metrics()
            self._flush_progress()

    def tick(self) -> None:
        """Writes what has been held back long enough."""
        with self._lock:
            self._flush_if_due()
            if self._left_out and self._log_lines.take():
                self._tell_left_out()

    def _flush_if_due(self) -> None:
        if self._clock() - self._written_at >= self._write_interval and (self._metrics or self._progress):
            self._written_at = self._clock()
            self.flush()

    def _flush_metrics(self) -> None:
        events, self._metrics = self._metrics, []
        for event in events:
            self._append({"metrics": event})

    def _flush_progress(self) -> None:
        if self._progress is None:
            return
        event, self._progress = self._progress, None
        event.rate = self._pace.rate
        remaining = self._pace.remaining_seconds(event.total_steps - event.step)
        if remaining is not None and 0 <= remaining < _LONGEST_REMAINING_SECONDS:
            event.remaining.CopyFrom(duration(remaining))
        self._append({"progress": event})

    def _tell_left_out(self) -> None:
        if self._left_out:
            message = f"{self._left_out} lines of the log were left out: there were too many."
            self._left_out = 0
            self._append({"log": LogEvent(level=log_level(LogLevel.WARNING), message=message)})

    def _append(self, body: Mapping[str, Any]) -> None:
        if not self._closed:
            self._journal.append(RunRecord(**body))
            self._wake()


def duration(seconds: float) -> Duration:
    """Seconds as the message has them."""
    message = Duration()
    message.FromNanoseconds(int(seconds * 1e9))
    return message
