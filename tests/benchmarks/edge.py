"""What the web edge costs: a call as REST against gRPC, a raw upload, and many watchers of one job."""

import http.client
import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from tests.benchmarks.deployment import client_of, fake_platform, jobs_of
from tests.benchmarks.rows import Row, Target
from tests.benchmarks.settings import Settings, start
from tests.benchmarks.transfers import large_file, watched
from tests.support.platform import Platform, fake_spec
from tuneyard.client import Client
from tuneyard.v1 import dataset_pb2
from tuneyard.v1.dataset_service_pb2 import CreateDatasetRequest
from tuneyard.v1.training_service_pb2 import GetJobRequest
from tuneyard.v1.training_service_pb2_grpc import TrainingServiceStub

WATCHERS = 200
_MAX_GROWTH_BYTES = 64_000_000


@dataclass(frozen=True)
class Edge:
    """A platform with its web server."""

    running: Platform
    host: str
    port: int

    def connection(self) -> http.client.HTTPConnection:
        """A connection that is kept open from call to call."""
        return http.client.HTTPConnection(self.host, self.port, timeout=120, blocksize=1 << 20)


def measure(settings: Settings) -> list[Row]:
    """On the defaults: folder store, SQLite, everything on loopback."""
    with fake_platform(settings, "edge") as running:
        running.upload_images()
        address = urlsplit(running.start_web())
        edge = Edge(running, str(address.hostname), int(address.port or 0))
        return [_call(settings, edge), _upload(settings, edge), _watchers(settings, edge)]


def _call(settings: Settings, edge: Edge) -> Row:
    """One job read by both ways in turn, over connections that are open already."""
    with jobs_of(edge.running) as jobs:
        job = jobs.run(fake_spec("steps=5")).job
    request = GetJobRequest(name=job)
    with closing(edge.running.channel()) as channel, closing(edge.connection()) as connection:
        stub = TrainingServiceStub(channel)

        def by_rest() -> None:
            connection.request("GET", f"/v1/{job}")
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"GET /v1/{job} was answered by {answer.status}")

        pairs = [
            (_seconds(by_rest), _seconds(lambda: stub.GetJob(request, timeout=30)))
            for _ in range(settings.times(500, 30))
        ][10:]
    rest, grpc = (median(times) for times in zip(*pairs, strict=True))
    return Row(
        name="GetJob as REST, above the gRPC call",
        unit="ms",
        ours=median(ours - other for ours, other in pairs) * 1e3,
        target=Target("ours", "<=", 1.0),
        guard=f"REST {rest * 1e3:.2f} ms, gRPC {grpc * 1e3:.2f} ms; medians of {len(pairs)} pairs",
    )


def _upload(settings: Settings, edge: Edge) -> Row:
    """A raw PUT from the first byte until the bytes are hashed and synced, as a browser's upload is."""
    size = 1 << 30 if not settings.quick else 64 << 20
    file = large_file(settings.data / f"random-{size >> 20}-mib.bin", size)
    assert edge.running.web is not None
    with client_of(edge.running) as client:
        _put(edge, client, large_file(settings.data / "random-64-mib.bin", 64 << 20), "warm")
        with watched(edge.running.web) as peak:
            speeds = [size / _put(edge, client, file, f"put-{n}") / 1e6 for n in range(settings.times(3, 1))]
    return Row(
        name=f"raw upload, {size / (1 << 30):g} GiB",
        unit="MB/s",
        ours=median(speeds),
        target=Target("ours", ">=", 300),
        guard=f"web server {peak.before / 1e6:.0f} MB + {peak.growth / 1e6:.0f} MB (< 64)",
        guard_held=peak.growth < _MAX_GROWTH_BYTES,
    )


def _put(edge: Edge, client: Client, file: Path, name: str) -> float:
    size = file.stat().st_size
    client.datasets.create(
        CreateDatasetRequest(dataset_id=name, format=dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER, size_bytes=size)
    )
    with closing(edge.connection()) as connection, file.open("rb") as body:
        started = time.perf_counter()
        connection.request("PUT", f"/v1/datasets/{name}:upload", body, {"Content-Length": str(size)})
        answer = connection.getresponse()
        told = json.loads(answer.read())
        seconds = time.perf_counter() - started
    if answer.status != 200 or told["dataset"]["state"] == "DATASET_STATE_UPLOADING":
        raise RuntimeError(f"the upload was answered by {answer.status}: {told}")
    while client.datasets.get(name).state == dataset_pb2.DATASET_STATE_VALIDATING:
        time.sleep(0.05)
    client.datasets.delete(name)
    return seconds


def _watchers(settings: Settings, edge: Edge) -> Row:
    """Server-sent events to many watchers at once, of a job that records fifty events a second."""
    script = f"steps={settings.times(400, 60)},step_ms=19,size=8,samples=8,prepare_ms=4000"
    with jobs_of(edge.running) as jobs:
        job = jobs.train(fake_spec(script))
        address = f"http://{edge.host}:{edge.port}"
        with start(["-m", "tests.benchmarks.sse_watchers", address, job.name, WATCHERS]) as watchers:
            output, _ = watchers.communicate()
        events = len(jobs.follow(job.name).events)
    found = json.loads(output.splitlines()[-1])
    whole = [seen for seen in found["last"] if seen == events]
    return Row(
        name="watchers of server-sent events that got every event",
        unit="of 200",
        ours=len(whole) if found["gapless"] else 0,
        target=Target("ours", ">=", WATCHERS),
        guard=f"{events} events in order without a gap, in {found['seconds']:.0f} s",
    )


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
