from datetime import timedelta

import grpc
import pytest

from tests.support.fake_gateway import FakeGateway, FakeJob
from tuneyard.client import Client, ConnectionSettings, TrainingSpec, errors
from tuneyard.rpc.errors import TuneyardError
from tuneyard.v1 import job_pb2, training_service_pb2


def test_train_repeats_its_request_id_when_the_answer_is_lost(gateway: FakeGateway, client: Client) -> None:
    FakeJob("jobs/1").serve(gateway)
    gateway.fail("Train", grpc.StatusCode.UNAVAILABLE, after=True)
    assert client.train(TrainingSpec(base_model="resnet18")).name == "jobs/1"
    first, second = gateway.requests["Train"]
    assert first.request_id
    assert first == second


def test_two_trains_have_different_request_ids(gateway: FakeGateway, client: Client) -> None:
    client.train(TrainingSpec())
    client.train(TrainingSpec())
    first, second = gateway.requests["Train"]
    assert first.request_id != second.request_id


def test_a_read_is_repeated_while_the_server_is_stopping(gateway: FakeGateway, client: Client) -> None:
    gateway.fail("GetServerInfo", TuneyardError("SHUTTING_DOWN", "stopping"), times=2)
    client.server_info()
    assert gateway.calls["GetServerInfo"] == 3


def test_a_deletion_is_not_repeated(gateway: FakeGateway, client: Client) -> None:
    gateway.fail("DeleteJob", grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(errors.ServerUnreachable):
        client.jobs.delete("1")
    assert gateway.calls["DeleteJob"] == 1


def test_a_refusal_is_not_repeated(gateway: FakeGateway, client: Client) -> None:
    gateway.fail("Train", TuneyardError("NO_TRAINER", "no trainer"))
    with pytest.raises(errors.NoTrainer):
        client.train(TrainingSpec())
    assert gateway.calls["Train"] == 1


def test_the_token_comes_with_unary_calls_and_streams(gateway: FakeGateway) -> None:
    FakeJob("jobs/1").serve(gateway)
    with Client(ConnectionSettings(server=gateway.address, token="secret")) as client:
        client.server_info()
        list(client.job("1").watch())
    for method in ("GetServerInfo", "WatchJob"):
        assert gateway.metadata[method]["authorization"] == "Bearer secret"


def test_without_a_token_none_is_sent(gateway: FakeGateway, client: Client) -> None:
    client.server_info()
    assert "authorization" not in gateway.metadata["GetServerInfo"]


def test_a_call_that_is_not_answered_in_time_is_a_timeout(gateway: FakeGateway) -> None:
    gateway.on("GetServerInfo", lambda request, context: context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, ""))
    settings = ConnectionSettings(server=gateway.address, timeout=timedelta(seconds=1))
    with Client(settings) as client, pytest.raises(TimeoutError):
        client.server_info()


def test_a_list_reads_all_pages(gateway: FakeGateway, client: Client) -> None:
    def page(
        request: training_service_pb2.ListJobsRequest, context: grpc.ServicerContext
    ) -> training_service_pb2.ListJobsResponse:
        number = int(request.page_token or 0)
        return training_service_pb2.ListJobsResponse(
            jobs=[job_pb2.Job(name=f"jobs/{number}")], next_page_token=str(number + 1) if number < 2 else ""
        )

    gateway.on("ListJobs", page)
    assert [job.name for job in client.jobs.list()] == ["jobs/0", "jobs/1", "jobs/2"]
    assert [job.name for job in client.jobs.list(limit=2)] == ["jobs/0", "jobs/1"]


def test_a_bare_id_is_completed_to_a_name(gateway: FakeGateway, client: Client) -> None:
    client.jobs.get("1")
    client.jobs.get("jobs/1")
    assert [request.name for request in gateway.requests["GetJob"]] == ["jobs/1", "jobs/1"]


def test_a_client_goes_on_after_the_gateway_came_back(gateway: FakeGateway, client: Client) -> None:
    client.server_info()
    gateway.stop()
    with pytest.raises(errors.ServerUnreachable):
        client.jobs.delete("1")
    gateway.start()
    client.server_info()


def test_a_blocking_client_refuses_to_be_called_from_its_own_callback(
    gateway: FakeGateway, client: Client
) -> None:
    async def callback() -> None:
        client.server_info()

    with pytest.raises(RuntimeError, match="own callback"):
        client._portal.run(callback())


def test_a_request_that_is_too_large_to_be_sent_is_refused_with_the_numbers(
    gateway: FakeGateway, client: Client
) -> None:
    with pytest.raises(errors.MessageTooLarge, match=r"65\.0 MiB; a message has at most 64 MiB"):
        client.train(TrainingSpec(base_model="x" * (65 << 20)))
    assert gateway.calls["Train"] == 0
