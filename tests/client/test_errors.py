from datetime import timedelta

import grpc
import pytest

from tests.support.fake_gateway import FakeGateway
from tuneyard.client import Client, ConnectionSettings, errors, statuses
from tuneyard.client.statuses import of_failed_job
from tuneyard.rpc.errors import STATUS_CODES, TuneyardError, Violation
from tuneyard.v1 import errors_pb2, job_pb2

ALL_REASONS = [
    value.name.removeprefix("ERROR_REASON_")
    for value in errors_pb2.ErrorReason.DESCRIPTOR.values
    if value.number
]


def test_every_reason_of_the_protos_has_a_class() -> None:
    assert set(errors.REASONS) == set(ALL_REASONS) == set(STATUS_CODES)


def test_no_two_reasons_share_a_class() -> None:
    assert len(set(errors.REASONS.values())) == len(errors.REASONS)


def test_every_class_of_the_tree_is_drawn() -> None:
    def below(root: type[Exception]) -> set[str]:
        return {root.__name__}.union(*(below(child) for child in root.__subclasses__()))

    assert errors.__doc__ is not None
    assert [name for name in below(errors.TuneyardError) if name not in errors.__doc__] == []


@pytest.mark.parametrize("reason", ALL_REASONS)
def test_a_reason_travels_from_server_to_client(gateway: FakeGateway, reason: str) -> None:
    sent = TuneyardError(
        reason,
        "what happened",
        violations=[Violation("spec.seed", "too large")],
        retry_after=timedelta(milliseconds=10),
        resource="jobs/1",
        metadata={"key": "value"},
    )
    gateway.fail("GetServerInfo", sent)
    with (
        Client(ConnectionSettings(server=gateway.address, retries=0)) as client,
        pytest.raises(errors.TuneyardError) as caught,
    ):
        client.server_info()
    got = caught.value
    assert type(got) is errors.REASONS[reason]
    assert (got.reason, got.message, got.resource) == (reason, "what happened", "jobs/1")
    assert got.violations == (errors.Violation("spec.seed", "too large"),)
    assert (got.retry_after, got.metadata) == (timedelta(milliseconds=10), {"key": "value"})


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.ServerUnreachable),
        (grpc.StatusCode.UNKNOWN, errors.ServerUnreachable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
        (grpc.StatusCode.UNIMPLEMENTED, errors.NotSupported),
        (grpc.StatusCode.UNAUTHENTICATED, errors.Unauthenticated),
        (grpc.StatusCode.INTERNAL, errors.ServerError),
        (grpc.StatusCode.DATA_LOSS, errors.ServerError),
    ],
)
def test_a_bare_status_becomes_the_nearest_class(
    gateway: FakeGateway, code: grpc.StatusCode, expected: type[Exception]
) -> None:
    gateway.fail("GetServerInfo", code)
    with Client(ConnectionSettings(server=gateway.address, retries=0)) as client, pytest.raises(expected):
        client.server_info()


def test_nothing_listening_is_server_unreachable() -> None:
    with (
        Client(ConnectionSettings(server="127.0.0.1:1", retries=0)) as client,
        pytest.raises(errors.ServerUnreachable, match=r"127\.0\.0\.1:1"),
    ):
        client.server_info()


def test_a_failed_job_carries_its_remedies() -> None:
    job = job_pb2.Job(
        name="jobs/1",
        state=job_pb2.JOB_STATE_FAILED,
        error=errors_pb2.JobError(
            reason=errors_pb2.ERROR_REASON_OUT_OF_MEMORY, message="too big", remedies=["a smaller batch"]
        ),
    )
    failed = of_failed_job(job)
    assert isinstance(failed, errors.OutOfMemory)
    assert (failed.remedies, failed.job) == (("a smaller batch",), job)


def test_a_job_that_failed_for_the_reason_of_a_call_is_a_failed_job() -> None:
    job = job_pb2.Job(
        error=errors_pb2.JobError(reason=errors_pb2.ERROR_REASON_DATASET_INVALID, message="bad")
    )
    failed = of_failed_job(job)
    assert type(failed) is errors.JobFailed
    assert failed.reason == "DATASET_INVALID"


def test_a_name_that_no_one_knows_is_said_without_brackets() -> None:
    settings = ConnectionSettings(server="no-such-host.invalid:1", retries=0)
    with Client(settings) as client, pytest.raises(errors.ServerUnreachable) as error:
        client.server_info()
    assert "]" not in error.value.message


def test_a_message_that_the_transport_refuses_is_too_large() -> None:
    refusal = grpc.aio.AioRpcError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(),
        "SERVER: Received message larger than max (100 vs. 64)",
    )
    error = statuses.from_rpc(refusal, address="here:1")
    assert isinstance(error, errors.MessageTooLarge)
    assert error.reason == "MESSAGE_TOO_LARGE"


def test_a_status_that_grpc_lost_is_a_broken_connection() -> None:
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.INTERNAL,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(),
        details="Internal error from Core",
    )
    assert isinstance(statuses.from_rpc(error, address="host:1"), errors.ServerUnreachable)
