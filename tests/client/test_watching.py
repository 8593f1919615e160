import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import grpc
import pytest

from tests.support.fake_gateway import FakeGateway, FakeJob
from tuneyard.client import AsyncClient, Client, ConnectionSettings, errors
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import job_pb2, training_service_pb2


def test_watch_yields_every_event_in_order(gateway: FakeGateway, client: Client) -> None:
    job = FakeJob("jobs/1")
    job.serve(gateway)
    assert list(client.job("1").watch()) == job.events
    assert gateway.calls["WatchJob"] == 1


def test_watch_connects_again_after_the_last_sequence(gateway: FakeGateway, client: Client) -> None:
    job = FakeJob("jobs/1", steps=20, per_call=7)
    job.serve(gateway)
    assert list(client.job("1").watch()) == job.events
    asked = [request.after_sequence for request in gateway.requests["WatchJob"]]
    assert asked == list(range(0, len(job.events), 7))


def test_watch_starts_after_a_given_sequence(gateway: FakeGateway, client: Client) -> None:
    job = FakeJob("jobs/1")
    job.serve(gateway)
    assert list(client.job("1").watch(after=5)) == job.events[5:]


async def test_the_asyncio_client_watches_in_the_same_way(
    gateway: FakeGateway, async_client: AsyncClient
) -> None:
    job = FakeJob("jobs/1", per_call=4)
    job.serve(gateway)
    assert [event async for event in async_client.job("1").watch()] == job.events


def test_watch_survives_a_restart_of_the_gateway(gateway: FakeGateway, client: Client) -> None:
    job = FakeJob("jobs/1", per_call=5)
    job.serve(gateway)
    events = client.job("1").watch()
    seen = [next(events)]
    gateway.stop()
    gateway.start()
    assert seen + list(events) == job.events


@pytest.mark.parametrize("damage", ["missing", "twice"])
def test_a_gap_or_a_repetition_is_an_error(gateway: FakeGateway, client: Client, damage: str) -> None:
    job = FakeJob("jobs/1")
    job.serve(gateway)
    if damage == "missing":
        del job.events[5]
    else:
        job.events.insert(5, job.events[5])
    with pytest.raises(errors.EventGap, match="event"):
        list(client.job("1").watch())


def test_watching_from_beyond_the_end_of_a_finished_job_ends(gateway: FakeGateway, client: Client) -> None:
    job = FakeJob("jobs/1")
    job.serve(gateway)
    assert list(client.job("1").watch(after=len(job.events))) == []


def test_a_stream_that_ends_early_is_taken_up_again(gateway: FakeGateway, client: Client) -> None:
    job = FakeJob("jobs/1")

    def watch(request: training_service_pb2.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[Any]:
        events = job.events[request.after_sequence :][:4]
        yield training_service_pb2.WatchJobResponse(events=events)

    job.serve(gateway)
    gateway.on("WatchJob", watch)
    assert list(client.job("1").watch()) == job.events


def test_an_unknown_job_is_an_error_at_once(gateway: FakeGateway, client: Client) -> None:

    gateway.fail("WatchJob", TuneyardError("JOB_NOT_FOUND", "no such job", resource="jobs/9"))
    with pytest.raises(errors.JobNotFound):
        next(client.job("9").watch())


def test_watching_gives_up_when_the_gateway_stays_away(gateway: FakeGateway) -> None:
    settings = ConnectionSettings(server=gateway.address, patience=timedelta(seconds=0.3), retries=0)
    FakeJob("jobs/1", per_call=2).serve(gateway)
    with Client(settings) as client:
        events = client.job("1").watch()
        next(events)
        gateway.stop()
        with pytest.raises(errors.ServerUnreachable):
            list(events)


def test_leaving_a_watch_ends_its_call(gateway: FakeGateway, client: Client) -> None:
    left = threading.Event()

    def watch(request: training_service_pb2.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[Any]:
        context.add_callback(left.set)
        yield training_service_pb2.WatchJobResponse(events=FakeJob("jobs/1").events[:1])
        left.wait(30)

    gateway.on("WatchJob", watch)
    events = client.job("1").watch()
    next(events)
    events.close()
    assert left.wait(30)


def test_wait_returns_the_terminal_job(gateway: FakeGateway, client: Client) -> None:
    FakeJob("jobs/1").serve(gateway)
    assert client.job("1").wait().state == job_pb2.JOB_STATE_SUCCEEDED


def test_wait_with_check_raises_for_a_failed_job(gateway: FakeGateway, client: Client) -> None:
    job = FakeJob("jobs/1")
    job.job.state = job_pb2.JOB_STATE_FAILED
    job.job.error.message = "it broke"
    job.serve(gateway)
    with pytest.raises(errors.JobFailed, match="it broke"):
        client.job("1").wait(check=True)


def test_wait_ends_with_deadline_exceeded(gateway: FakeGateway, client: Client) -> None:
    job = FakeJob("jobs/1")
    job.job.state, job.job.last_sequence = job_pb2.JOB_STATE_RUNNING, 3
    del job.events[5:]
    job.serve(gateway)
    with pytest.raises(errors.DeadlineExceeded, match="jobs/1 has not ended"):
        client.job("1").wait(timeout=timedelta(seconds=0.3))


def test_watch_jobs_begins_anew_after_a_broken_connection(gateway: FakeGateway, client: Client) -> None:
    def watch(request: training_service_pb2.WatchJobsRequest, context: grpc.ServicerContext) -> Iterator[Any]:
        yield training_service_pb2.WatchJobsResponse(snapshot_complete=True)
        context.abort(grpc.StatusCode.UNAVAILABLE, "cut")

    gateway.on("WatchJobs", watch)
    responses = client.jobs.watch()
    assert [next(responses).snapshot_complete for _ in range(3)] == [True, True, True]
    responses.close()
