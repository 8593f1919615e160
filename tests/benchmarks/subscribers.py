"""Many subscribers to one job in a process of their own: when each event has reached all of them.

    python -m tests.benchmarks.subscribers ADDRESS JOB COUNT

Prints "ready" when every subscriber has the job's first event, and one JSON object when all streams have
ended: how many events each got, whether any was missing, and for each measured event how long after it was
recorded the last subscriber had it. Each subscriber parses what it receives, as a client does.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field

import grpc

from tuneyard.v1.event_pb2 import JobEvent
from tuneyard.v1.training_service_pb2 import WatchJobRequest, WatchJobResponse
from tuneyard.v1.training_service_pb2_grpc import TrainingServiceStub


@dataclass
class Subscriber:
    """One stream on a connection of its own."""

    keep: bool = False
    """Whether the events themselves are kept, of which one subscriber's are enough."""
    arrivals: list[tuple[int, int]] = field(default_factory=list)
    """The last sequence of each response, and when it was there by `time.time_ns`."""
    events: list[JobEvent] = field(default_factory=list)
    last_sequence: int = 0
    gapless: bool = True
    joined: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, address: str, job: str) -> None:
        """Reads the job to its end."""
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 64 << 20))
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            call = TrainingServiceStub(channel).WatchJob(WatchJobRequest(name=job))
            try:
                async for response in call:
                    self._take(response)
            finally:
                call.cancel()

    def _take(self, response: WatchJobResponse) -> None:
        expected = self.last_sequence + 1
        sequences = [event.sequence for event in response.events]
        if not sequences:
            return
        self.gapless = self.gapless and sequences == list(range(expected, expected + len(sequences)))
        self.last_sequence = sequences[-1]
        self.arrivals.append((self.last_sequence, time.time_ns()))
        if self.keep:
            self.events.extend(response.events)
        self.joined.set()


async def subscribe(address: str, job: str, count: int) -> list[Subscriber]:
    """Reads the job with `count` subscribers to its end."""
    subscribers = [Subscriber(keep=number == 0) for number in range(count)]
    async with asyncio.TaskGroup() as group:
        for subscriber in subscribers:
            group.create_task(subscriber.run(address, job))
        for subscriber in subscribers:
            await subscriber.joined.wait()
        print("ready", flush=True)
    return subscribers


def summarize(subscribers: list[Subscriber]) -> dict[str, object]:
    """Counts, completeness and delays."""
    newest = [0] * (subscribers[0].last_sequence + 1)
    for subscriber in subscribers:
        seen = 0
        for last, at in subscriber.arrivals:
            for sequence in range(seen + 1, min(last, len(newest) - 1) + 1):
                newest[sequence] = max(newest[sequence], at)
            seen = last
    measured = [event for event in subscribers[0].events if event.HasField("metrics")]
    return {
        "events": [subscriber.last_sequence for subscriber in subscribers],
        "gapless": all(subscriber.gapless for subscriber in subscribers),
        "recorded": [event.time.ToNanoseconds() / 1e9 for event in measured],
        "delays": [(newest[event.sequence] - event.time.ToNanoseconds()) / 1e9 for event in measured],
        "messages": sum(len(subscriber.arrivals) for subscriber in subscribers),
    }


if __name__ == "__main__":
    found = asyncio.run(subscribe(sys.argv[1], sys.argv[2], int(sys.argv[3])))
    print(json.dumps(summarize(found)), flush=True)
