"""The gateway's watch hub behind a real gRPC server, with a log in memory instead of a database.

    python -m tests.benchmarks.fan_out_server EVENTS BATCH

Prints its address, and publishes EVENTS events as fast as it can when a line comes in.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Any, cast

from tuneyard.gateway.jobs import Committed
from tuneyard.gateway.servicers import training_service
from tuneyard.gateway.watch import WatchHub
from tuneyard.rpc.server import RpcServer
from tuneyard.v1 import event_pb2, job_pb2, training_service_pb2

JOB = "jobs/01999999-0000-7000-8000-000000000000"
_VALUES = {"train/loss": 0.1234, "train/learning_rate": 1e-4, "eval/loss": 0.5, "eval/accuracy_top1": 0.9}


class MemoryLog:
    """A job's events, all in memory."""

    def __init__(self) -> None:
        self.job = job_pb2.Job(name=JOB, state=job_pb2.JOB_STATE_RUNNING)
        self.chunks: list[tuple[int, bytes]] = []

    async def get(self, name: str) -> job_pb2.Job:
        return self.job

    async def events_after(self, job_id: str, sequence: int, limit: int) -> list[tuple[int, bytes]]:
        return self.chunks[sequence : sequence + limit]

    def commit(self, count: int, *, last: bool = False) -> Committed:
        """Appends events as a transaction would."""
        events = []
        for _ in range(count):
            self.job.last_sequence += 1
            metrics = event_pb2.MetricsEvent(step=self.job.last_sequence, epoch=1.5, values=_VALUES)
            event = event_pb2.JobEvent(sequence=self.job.last_sequence, attempt=1, metrics=metrics)
            event.time.FromNanoseconds(time.time_ns())
            events.append(event)
        if last:
            self.job.state = job_pb2.JOB_STATE_SUCCEEDED
        chunks = [training_service_pb2.WatchJobResponse(events=[e]).SerializeToString() for e in events]
        self.chunks += [(event.sequence, chunk) for event, chunk in zip(events, chunks, strict=True)]
        snapshot = job_pb2.Job()
        snapshot.CopyFrom(self.job)
        return Committed(job=snapshot, events=tuple(events), chunks=tuple(chunks))

    async def list(
        self, job_filter: training_service_pb2.JobFilter, *, page_size: int, page_token: str
    ) -> tuple[Sequence[job_pb2.Job], str, int]:
        return [self.job], "", 1


async def main(events: int, batch: int) -> None:
    log = MemoryLog()
    hub = WatchHub(log)
    server = RpcServer(listen="127.0.0.1:0")
    unused = cast(Any, None)
    servicer = training_service.TrainingServicer(
        intake=unused, jobs=unused, hub=hub, metrics=unused, on_intent=lambda: None
    )
    training_service.add_to_server(servicer, server.grpc)
    address = await server.start([])
    log.commit(1)
    print(address, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for start in range(0, events, batch):
        hub.on_commit(log.commit(batch, last=start + batch >= events))
        await asyncio.sleep(0)
    await asyncio.to_thread(sys.stdin.readline)
    await server.stop()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
