"""What a gateway costs: the time until it serves, and its resident memory after a job."""

import time
from statistics import median

import grpc

from tests.benchmarks.deployment import jobs_of, resident_bytes
from tests.benchmarks.rows import Row, Target
from tests.benchmarks.settings import Settings
from tests.support.platform import Platform, fake_spec
from tuneyard.v1.system_service_pb2 import GetServerInfoRequest
from tuneyard.v1.system_service_pb2_grpc import SystemServiceStub


def measure(settings: Settings) -> list[Row]:
    """From the start of the process to its first answer; memory when a job of many events is over."""
    running = Platform(settings.scratch / "gateway", trainers={"vision": "tuneyard.trainer.fake"})
    fresh = _seconds_to_ready(running)
    again: list[float] = []
    for _ in range(settings.times(5, 2)):
        running.gateway.kill()
        again.append(_seconds_to_ready(running))
    try:
        running.trainer.start()
        running.wait_ready()
        running.upload_images()
        idle = resident_bytes(running.gateway)
        with jobs_of(running) as jobs:
            story = jobs.run(fake_spec(f"steps={settings.times(2000, 200)},step_ms=1,probe=1"))
        after = resident_bytes(running.gateway)
    finally:
        running.stop()
    return [
        Row(
            name="gateway start to first answer",
            unit="s",
            ours=median(again),
            target=Target("ours", "<=", 2.0),
            guard=f"SQLite, folder store; {fresh:.2f} s on an empty data folder",
        ),
        Row(
            name="gateway resident memory after a job",
            unit="MB",
            ours=after / 1e6,
            target=Target("ours", "<=", 150),
            guard=f"a job of {len(story.events):,} events, watched; {idle / 1e6:.0f} MB before it",
        ),
    ]


def _seconds_to_ready(running: Platform) -> float:
    started = time.perf_counter()
    running.gateway.start()
    while True:
        try:
            with running.channel() as channel:
                SystemServiceStub(channel).GetServerInfo(GetServerInfoRequest(), timeout=1)
            return time.perf_counter() - started
        except grpc.RpcError:
            if time.perf_counter() - started > 30:
                raise
            time.sleep(0.005)
