"""Two gateways on one PostgreSQL: both serve, one leads, and the death of either loses nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.platform import Platform, assert_gapless, eventually, fake_spec, platform
from tuneyard.v1 import job_pb2, system_service_pb2, training_service_pb2
from tuneyard.v1.system_service_pb2_grpc import SystemServiceStub

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture
def pair(tmp_path: Path, postgres_url: str) -> Iterator[Platform]:
    with platform(tmp_path / "p", database=postgres_url) as started:
        started.add_gateway(TUNEYARD_DATA_DIR=str(tmp_path / "p" / "gateway-b")).start()
        eventually(lambda: leads(started, 1) is not None, within=60, what="the second gateway")
        started.upload_images()
        yield started


def leads(pair: Platform, index: int) -> bool | None:
    try:
        with pair.channel(index) as channel:
            info = SystemServiceStub(channel).GetServerInfo(
                system_service_pb2.GetServerInfoRequest(), timeout=2
            )
    except Exception:
        return None
    return bool(info.is_controller)


def leader(pair: Platform) -> int:
    """Waits until both answer, and exactly one of them leads; returns which."""
    told: list[bool | None] = []

    def one_leads() -> bool:
        told[:] = leads(pair, 0), leads(pair, 1)
        return told.count(True) == told.count(False) == 1

    eventually(one_leads, within=60, what="one of two to lead")
    return told.index(True)


def test_one_of_two_gateways_leads_and_both_stream(pair: Platform) -> None:
    leader(pair)
    job = pair.train(fake_spec("steps=100,step_ms=5"))
    watchers = [pair.watch(job.name, gateway=index) for index in (0, 1)]
    logs = [watcher.wait() for watcher in watchers]
    assert_gapless(logs[0])
    assert logs[0] == logs[1]


def test_the_death_of_the_controller_loses_nothing(pair: Platform) -> None:
    killed = leader(pair)
    other = 1 - killed
    job = pair.train(fake_spec("steps=2500,step_ms=8,save=100"))
    watcher = pair.watch(job.name, gateway=other)
    watcher.at_step(20)
    pair.gateways[killed].kill()
    eventually(lambda: leads(pair, other), within=60, what="the other gateway to lead")
    events = watcher.wait(within=120)
    assert_gapless(events)
    steps = [e.metrics.step for e in events if "train/loss" in e.metrics.values]
    assert steps == sorted(set(steps)), "no step came twice"
    pair.gateways[killed].start()
    eventually(lambda: leads(pair, killed) is False, within=60, what="the old controller to follow")
    with pair.channel(other) as channel:
        ended = pair.training(channel).GetJob(training_service_pb2.GetJobRequest(name=job.name)).job
    assert (ended.state, ended.attempt_count) == (job_pb2.JOB_STATE_SUCCEEDED, 1)
