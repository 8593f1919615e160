"""How many events a gateway's hub delivers in a second: one source, a hundred subscribers, real streams."""

import json
import subprocess
from statistics import median

from tests.benchmarks.fan_out_server import JOB
from tests.benchmarks.rows import Row, Target
from tests.benchmarks.settings import Settings, start

SUBSCRIBERS, BATCH = 100, 100


def measure(settings: Settings) -> list[Row]:
    """Deliveries a second, counted at the subscribers."""
    events = settings.times(20_000, 5_000)
    rates = [_deliveries_per_second(events) for _ in range(settings.times(3, 1))]
    return [
        Row(
            name="fan-out, events delivered to 100 subscribers",
            unit="events/s",
            ours=median(rates),
            target=Target("ours", ">=", 300_000),
            guard="every subscriber got every event in order",
        )
    ]


def _deliveries_per_second(events: int) -> float:
    server = start(["-m", "tests.benchmarks.fan_out_server", events, BATCH], stdin=subprocess.PIPE)
    assert server.stdin is not None and server.stdout is not None
    try:
        address = server.stdout.readline().strip()
        with start(["-m", "tests.benchmarks.subscribers", address, JOB, SUBSCRIBERS]) as subscribers:
            assert subscribers.stdout is not None
            if subscribers.stdout.readline().strip() != "ready":
                raise RuntimeError("the subscribers could not subscribe")
            server.stdin.write("go\n")
            server.stdin.flush()
            found = json.loads(subscribers.communicate()[0])
    finally:
        server.kill()
        server.communicate()
    if not found["gapless"] or set(found["events"]) != {events + 1}:
        raise RuntimeError("a subscriber missed events")
    # The first event was there before: it brought the subscribers together and is not counted.
    started = found["recorded"][1]
    ended = max(at + delay for at, delay in zip(found["recorded"], found["delays"], strict=True))
    return float(SUBSCRIBERS * events / (ended - started))
