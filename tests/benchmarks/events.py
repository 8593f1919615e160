"""From the record in a worker to the last of a hundred subscribers, at a hundred events a second."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from statistics import median
from typing import Any

from tests.benchmarks.deployment import fake_platform, jobs_of
from tests.benchmarks.rows import Row, Target, percentile
from tests.benchmarks.settings import Settings, start
from tests.support.platform import Platform, fake_spec

SUBSCRIBERS = 100
_WARMUP_EVENTS = 100


def measure(settings: Settings) -> list[Row]:
    """The delay on otherwise idle cores, and with every core busy."""
    with fake_platform(settings, "events") as running:
        running.upload_images()
        idle = _delays(settings, running)
        with busy_cores(settings):
            loaded = _delays(settings, running)
    return [
        Row(
            name="event recorded to 100th of 100 subscribers, p99",
            unit="ms",
            ours=percentile(idle["delays"], 0.99) * 1e3,
            target=Target("ours", "<=", 20),
            guard=_guard(idle),
            guard_held=idle["complete"] and idle["rate"] >= 95,
        ),
        Row(
            name="event recorded to 100th of 100 subscribers, p50",
            unit="ms",
            ours=median(idle["delays"]) * 1e3,
            guard=_guard(idle),
        ),
        Row(
            name="the same with every core busy, p99",
            unit="ms",
            ours=percentile(loaded["delays"], 0.99) * 1e3,
            guard=_guard(loaded),
            guard_held=loaded["complete"],
        ),
    ]


def _delays(settings: Settings, running: Platform) -> dict[str, Any]:
    steps = settings.times(1000, 300)
    # The sleep and the work around it make a little less than ten milliseconds together.
    script = f"steps={steps},step_ms=9,probe=1,size=8,samples=8,prepare_ms=4000"
    with jobs_of(running) as jobs:
        job = jobs.train(fake_spec(script))
        module = "tests.benchmarks.subscribers"
        with start(["-m", module, running.address, job.name, SUBSCRIBERS]) as subscribers:
            output, _ = subscribers.communicate()
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    gaps = [after - before for before, after in pairwise(found["recorded"][_WARMUP_EVENTS:])]
    found["rate"] = len(gaps) / sum(gaps)
    found["delays"] = found["delays"][_WARMUP_EVENTS:]
    found["complete"] = found["gapless"] and len(set(found["events"])) == 1
    return found


def _guard(found: dict[str, Any]) -> str:
    state = "every subscriber got every event" if found["complete"] else "EVENTS ARE MISSING"
    return f"{state}; {found['rate']:.0f} events/s"


@contextmanager
def busy_cores(settings: Settings) -> Iterator[None]:
    """A process a core that does nothing but count."""
    settings.tell("with every core busy")
    spinners = [start(["-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.communicate()
