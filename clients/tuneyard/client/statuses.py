"""Turns what calls and jobs end with into exceptions. Nothing else in this package knows status codes."""

from collections.abc import Mapping
from typing import Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from tuneyard.client.errors import (
    REASONS,
    DeadlineExceeded,
    InvalidRequest,
    JobFailed,
    MessageTooLarge,
    NotFound,
    NotSupported,
    PermissionDenied,
    ResourceExhausted,
    ServerError,
    ServerUnreachable,
    TuneyardError,
    Unauthenticated,
    Violation,
)
from tuneyard.v1 import errors_pb2, job_pb2

DOMAIN: Final = "tuneyard.v1"
_DETAILS_KEY: Final = "grpc-status-details-bin"
_PREFIX: Final = "ERROR_REASON_"

_LOST_STATUS: Final = "Internal error from Core"

# What a bare status means where no details of ours came: from a proxy, an older server, a broken connection.
# A server that dies under a call shows as any of UNAVAILABLE, CANCELLED and UNKNOWN.
_BARE: Final[Mapping[grpc.StatusCode, type[TuneyardError]]] = {
    grpc.StatusCode.UNAVAILABLE: ServerUnreachable,
    grpc.StatusCode.CANCELLED: ServerUnreachable,
    grpc.StatusCode.UNKNOWN: ServerUnreachable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNIMPLEMENTED: NotSupported,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
}


def from_rpc(error: grpc.aio.AioRpcError, *, address: str) -> TuneyardError:
    """The exception for what a call to the server at `address` ended with."""
    known = _from_details(error)
    if known is not None:
        return known
    details = error.details() or "no details"
    found = _BARE.get(error.code(), ServerError)
    # A connection that breaks in the middle of a stream can also show as an internal fault of HTTP/2; and a
    # call that the server ended while a message was on its way as one of gRPC's own, its true status lost.
    if found is ServerUnreachable or "RST_STREAM" in details or details == _LOST_STATUS:
        # The last part is the cause: before it stands what gRPC tried.
        return ServerUnreachable(f"no answer from {address}: {details.rpartition(': ')[2].rstrip(']')}")
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and "message larger than max" in details:
        # The transport's own refusal: it ends the call before the server's code sees it.
        return MessageTooLarge("the message is larger than the server accepts", reason="MESSAGE_TOO_LARGE")
    return found(f"{error.code().name}: {details}", status=error.code().name)


def of_failed_job(job: job_pb2.Job) -> JobFailed:
    """The exception for a job in state FAILED."""
    reason = reason_name(job.error.reason)
    found = REASONS.get(reason, JobFailed)
    failed = (found if issubclass(found, JobFailed) else JobFailed)(
        job.error.message or "the job failed", reason=reason, resource=job.name
    )
    failed.job, failed.remedies = job, tuple(job.error.remedies)
    return failed


def reason_name(value: int) -> str:
    """The name without prefix of an ErrorReason; "" for UNSPECIFIED and for values of a newer server."""
    found = errors_pb2.ErrorReason.DESCRIPTOR.values_by_number.get(value)
    return "" if found is None or value == 0 else found.name.removeprefix(_PREFIX)


def _from_details(error: grpc.aio.AioRpcError) -> TuneyardError | None:
    status = _status_of(error)
    info = error_details_pb2.ErrorInfo()
    violations: list[Violation] = []
    retry_after = resource = None
    for detail in status.details:
        bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        about = error_details_pb2.ResourceInfo()
        if detail.Unpack(bad):
            violations += [Violation(found.field, found.description) for found in bad.field_violations]
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToTimedelta()
        elif detail.Unpack(about):
            resource = about.resource_name
        else:
            detail.Unpack(info)
    if info.domain != DOMAIN:
        return None
    # A reason that this release does not know still says what happened.
    return REASONS.get(info.reason, ServerError)(
        status.message,
        reason=info.reason,
        violations=violations,
        retry_after=retry_after,
        resource=resource,
        metadata=dict(info.metadata),
        status=error.code().name,
    )


def _status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break
    return status_pb2.Status()
