"""The error table and its form on the wire."""

from datetime import timedelta

import grpc
import pytest

from tuneyard.rpc.errors import (
    STATUS_CODES,
    TuneyardError,
    Violation,
    from_status,
    invalid_fields,
    reason_name,
    reason_value,
    to_status,
)
from tuneyard.v1 import errors_pb2

_REASONS = [name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.keys()][1:]  # noqa: SIM118


def test_every_reason_has_a_status_code() -> None:
    assert sorted(STATUS_CODES) == sorted(_REASONS)


@pytest.mark.parametrize("reason", _REASONS)
def test_every_reason_survives_the_way_to_the_wire_and_back(reason: str) -> None:
    error = from_status(to_status(TuneyardError(reason, "what happened")))
    assert error is not None
    assert (error.reason, error.message) == (reason, "what happened")
    assert reason_name(reason_value(reason)) == reason


def test_an_unknown_reason_cannot_be_raised() -> None:
    with pytest.raises(ValueError, match="NO_SUCH"):
        TuneyardError("NO_SUCH", "x")


def test_an_unknown_reason_value_reads_as_unspecified() -> None:
    assert reason_name(9999) == ""
    assert reason_value("FROM_THE_FUTURE") == errors_pb2.ERROR_REASON_UNSPECIFIED


def test_details_carry_metadata_resource_delay_and_violations() -> None:
    raised = TuneyardError(
        "NO_FREE_SLOT",
        "busy",
        metadata={"slots": "2"},
        violations=[Violation("spec.seed", "must be at least 0")],
        retry_after=timedelta(seconds=1.5),
        resource="jobs/7",
    )
    read = from_status(to_status(raised))
    assert read is not None
    assert read.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (read.metadata, read.violations) == (raised.metadata, raised.violations)
    assert (read.retry_after, read.resource) == (raised.retry_after, "jobs/7")


def test_a_status_stays_small_enough_for_a_trailer() -> None:
    violations = [
        Violation(f"spec.images[{index}].content", "must not be empty" * 5) for index in range(1000)
    ]
    status = to_status(invalid_fields(violations))
    read = from_status(status)
    assert status.ByteSize() < 5200
    assert read is not None
    assert len(read.violations) + int(read.metadata["violations_omitted"]) == 1000


def test_a_foreign_status_is_not_ours() -> None:
    status = to_status(TuneyardError("INTERNAL", "x"))
    status.ClearField("details")
    assert from_status(status) is None
