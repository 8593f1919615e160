"""Bytes through the gateway on the folder store: speed, flat memory, equal hashes."""

import hashlib
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from tests.benchmarks.deployment import client_of, fake_platform, jobs_of, resident_bytes
from tests.benchmarks.rows import Row, Target
from tests.benchmarks.settings import Settings
from tests.support.platform import Service, fake_spec
from tuneyard.client import Client, ProgressCallback, Transfer
from tuneyard.v1 import dataset_pb2

_BLOCK = 1 << 20
_MAX_GROWTH_BYTES = 64_000_000


@dataclass
class Timing:
    """One transfer with the SDK."""

    started: float
    first_chunk: float = 0.0
    """When the first chunk was under way: before it, an upload's file is hashed."""
    last_chunk: float = 0.0
    """When the last chunk was here: after it, a download's file is hashed."""
    ended: float = 0.0

    def chunk(self, _: Transfer) -> None:
        """What the SDK calls at each chunk."""
        self.last_chunk = time.perf_counter()
        self.first_chunk = self.first_chunk or self.last_chunk

    @property
    def whole(self) -> float:
        """Seconds that the caller waited."""
        return self.ended - self.started


@dataclass
class Peak:
    """The resident memory of a process while something went on."""

    before: int
    highest: int

    @property
    def growth(self) -> int:
        """Bytes above where it began."""
        return self.highest - self.before


def measure(settings: Settings) -> list[Row]:
    """One large file with the SDK: what the gateway takes, and all that a caller waits."""
    size = 2 << 30 if not settings.quick else 256 << 20
    file = large_file(settings.data / f"random-{size >> 20}-mib.bin", size)
    digest = _sha256(file)
    times = settings.times(2, 1)
    with fake_platform(settings, "transfers") as running:
        with client_of(running) as client:
            _upload(client, large_file(settings.data / "random-64-mib.bin", 64 << 20), "warm")
            with watched(running.gateway) as upload_peak:
                ups = [_uploaded(client, file, f"large-{n}", digest) for n in range(times)]
        running.upload_images()
        with jobs_of(running) as jobs, client_of(running) as client:
            job = jobs.run(fake_spec(f"steps=1,artifact_bytes={size}")).job
            artifact = next(a for a in client.artifacts.list(job) if a.path == "extra.bin")
            with watched(running.gateway) as download_peak:
                downs = [_downloaded(client, job, settings.scratch / f"got-{n}") for n in range(times)]
            held = _sha256(settings.scratch / "got-0" / "extra.bin") == artifact.sha256
        copies = [_timed_copy(file, settings.scratch / "copy.bin") for _ in range(times)]
    sent = [timing.ended - timing.first_chunk for timing in ups]
    received = [timing.last_chunk - timing.started for timing in downs]
    return [
        _judged("upload through the gateway", size, sent, copies, upload_peak, equal=True),
        _row("upload with the SDK as a whole", size, [t.whole for t in ups], copies, "hashes the file first"),
        _judged("download through the gateway", size, received, copies, download_peak, equal=held),
        _row("download with the SDK as a whole", size, [t.whole for t in downs], copies, "hashes the file"),
    ]


def _judged(name: str, size: int, ours: list[float], copies: list[float], peak: Peak, *, equal: bool) -> Row:
    sameness = "SHA-256 equal at both ends" if equal else "SHA-256 DIFFERS"
    guard = f"{sameness}; gateway {peak.before / 1e6:.0f} MB + {peak.growth / 1e6:.0f} MB (< 64)"
    return replace(
        _row(name, size, ours, copies, guard),
        target=Target("ours", ">=", 300),
        guard_held=equal and peak.growth < _MAX_GROWTH_BYTES,
    )


def _row(name: str, size: int, ours: list[float], copies: list[float], guard: str) -> Row:
    speed, limit = size / median(ours) / 1e6, size / median(copies) / 1e6
    return Row(
        name=f"{name}, {size / (1 << 30):g} GiB",
        unit="MB/s",
        ours=speed,
        limit=limit,
        ratio=speed / limit,
        guard=guard,
    )


def _upload(
    client: Client, file: Path, name: str, progress: ProgressCallback | None = None
) -> dataset_pb2.Dataset:
    format = dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER
    return client.datasets.upload(file, format=format, name=name, progress=progress)


def _uploaded(client: Client, file: Path, name: str, digest: str) -> Timing:
    """The file is no dataset: it is found INVALID at once, which costs nothing here."""
    timing = Timing(time.perf_counter())
    dataset = _upload(client, file, name, timing.chunk)
    timing.ended = time.perf_counter()
    if dataset.sha256 != digest:
        raise RuntimeError("the server has other bytes")
    while client.datasets.get(name).state == dataset_pb2.DATASET_STATE_VALIDATING:
        time.sleep(0.05)
    client.datasets.delete(name)
    return timing


def _downloaded(client: Client, job: str, folder: Path) -> Timing:
    timing = Timing(time.perf_counter())
    client.artifacts.download(job, folder, paths=["extra.bin"], progress=timing.chunk)
    timing.ended = time.perf_counter()
    return timing


def _timed_copy(source: Path, target: Path) -> float:
    """What the machine can do at most: one process that reads, hashes, writes and waits for the disk."""
    started = time.perf_counter()
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(_BLOCK):
            digest.update(block)
            writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())
    seconds = time.perf_counter() - started
    target.unlink()
    return seconds


@contextmanager
def watched(service: Service) -> Iterator[Peak]:
    """Follows a service's resident memory."""
    peak = Peak(resident_bytes(service), 0)
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            peak.highest = max(peak.highest, resident_bytes(service))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def large_file(path: Path, size: int) -> Path:
    """A file of random blocks, each different from the next; made once."""
    if path.exists() and path.stat().st_size == size:
        return path
    block = bytearray(random.Random(0).randbytes(_BLOCK))
    with path.open("wb") as file:
        for number in range(size // _BLOCK):
            block[:8] = number.to_bytes(8, "little")
            file.write(block)
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
