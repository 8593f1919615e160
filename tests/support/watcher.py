"""A subscriber to one job's events that survives whatever is killed."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc

from tuneyard.v1 import event_pb2, job_pb2, training_service_pb2
from tuneyard.v1.training_service_pb2_grpc import TrainingServiceStub

RETRYABLE = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


@dataclass
class Watcher:
    """Reads one job's events in a thread, reconnecting from its last sequence, until it ends with OK."""

    job: str
    connect: Callable[[], grpc.Channel]
    events: list[event_pb2.JobEvent] = field(default_factory=list)
    reconnects: int = 0
    finished: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)
    error: Exception | None = None

    def start(self) -> "Watcher":
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def _run(self) -> None:
        try:
            while not self._read_once():
                self.reconnects += 1
                time.sleep(0.05)
        except Exception as error:
            self.error = error
        self.finished.set()
        with self.changed:
            self.changed.notify_all()

    def _read_once(self) -> bool:
        after = self.events[-1].sequence if self.events else 0
        with self.connect() as channel:
            call = TrainingServiceStub(channel).WatchJob(
                training_service_pb2.WatchJobRequest(name=self.job, after_sequence=after)
            )
            try:
                for response in call:
                    with self.changed:
                        self.events.extend(response.events)
                        self.changed.notify_all()
            except grpc.RpcError as error:
                if error.code() not in RETRYABLE:
                    raise
                return False
            finally:
                call.cancel()
            return True

    def wait_for(
        self, condition: Callable[[list[event_pb2.JobEvent]], bool], *, within: float = 60.0
    ) -> None:
        """Waits until the events read so far meet a condition."""
        deadline = time.monotonic() + within
        with self.changed:
            while not condition(self.events):
                left = deadline - time.monotonic()
                if left <= 0 or (self.finished.is_set() and not condition(self.events)):
                    raise AssertionError(f"{self.job}: the awaited event did not come ({self.error})")
                self.changed.wait(min(left, 1.0))

    def wait(self, *, within: float = 60.0) -> list[event_pb2.JobEvent]:
        """Returns all events once the job is terminal."""
        if not self.finished.wait(within):
            raise AssertionError(f"{self.job} is not terminal after {within:.0f} s: {self.events[-3:]}")
        if self.error is not None:
            raise self.error
        return self.events

    def at_step(self, step: int, *, within: float = 60.0) -> None:
        """Waits until a progress or metrics event has reached a step."""
        self.wait_for(
            lambda events: any(max(e.progress.step, e.metrics.step) >= step for e in events), within=within
        )

    def at_state(self, state: "job_pb2.JobState.ValueType", *, within: float = 60.0) -> None:
        """Waits until the job has been in a state: a reader may be behind the job itself."""
        self.wait_for(lambda events: any(e.state_change.to == state for e in events), within=within)

    def at_a_checkpoint_of(self, attempt: int, *, within: float = 120.0) -> None:
        """Waits for the first checkpoint that an attempt makes."""
        self.wait_for(
            lambda events: any(e.attempt == attempt and e.HasField("checkpoint") for e in events),
            within=within,
        )

    def at_a_new_checkpoint(self, *, within: float = 120.0) -> None:
        """Waits for a checkpoint of a later step than all that were seen so far."""

        def newest(events: list[event_pb2.JobEvent]) -> int:
            return max((e.checkpoint.checkpoint.step for e in events), default=0)

        reached = newest(self.events)
        self.wait_for(lambda events: newest(events) > reached, within=within)
