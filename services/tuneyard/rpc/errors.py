"""The one error that services raise, and the one table from its reason to a gRPC status code.

Whoever raises names a reason; which status code that is, and how it looks on the wire, is known here alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2, message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from tuneyard.v1 import errors_pb2

DOMAIN: Final = "tuneyard.v1"
STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"

# Trailers are headers: a peer refuses more than 8 KiB of them by default, and details travel as base64.
_MAX_STATUS_BYTES: Final = 4600
_MAX_MESSAGE_CHARACTERS: Final = 1000

_PREFIX: Final = "ERROR_REASON_"

_Code = grpc.StatusCode

STATUS_CODES: Final[Mapping[str, grpc.StatusCode]] = {
    "INVALID_FIELD": _Code.INVALID_ARGUMENT,
    "REQUEST_ID_REUSED": _Code.ALREADY_EXISTS,
    "INVALID_PAGE_TOKEN": _Code.INVALID_ARGUMENT,
    "MESSAGE_TOO_LARGE": _Code.RESOURCE_EXHAUSTED,
    "UNAUTHENTICATED": _Code.UNAUTHENTICATED,
    "PERMISSION_DENIED": _Code.PERMISSION_DENIED,
    "JOB_NOT_FOUND": _Code.NOT_FOUND,
    "DATASET_NOT_FOUND": _Code.NOT_FOUND,
    "MODEL_NOT_FOUND": _Code.NOT_FOUND,
    "ARTIFACT_NOT_FOUND": _Code.NOT_FOUND,
    "ALREADY_EXISTS": _Code.ALREADY_EXISTS,
    "JOB_STATE_CONFLICT": _Code.FAILED_PRECONDITION,
    "DATASET_IN_USE": _Code.FAILED_PRECONDITION,
    "MODEL_IN_USE": _Code.FAILED_PRECONDITION,
    "DATASET_NOT_READY": _Code.FAILED_PRECONDITION,
    "DATASET_INVALID": _Code.FAILED_PRECONDITION,
    "UPLOAD_OFFSET_MISMATCH": _Code.ABORTED,
    "CHECKSUM_MISMATCH": _Code.DATA_LOSS,
    "SOURCE_NOT_ALLOWED": _Code.PERMISSION_DENIED,
    "UNKNOWN_BASE_MODEL": _Code.INVALID_ARGUMENT,
    "BASE_MODEL_UNAVAILABLE": _Code.FAILED_PRECONDITION,
    "NO_TRAINER": _Code.FAILED_PRECONDITION,
    "TRAINER_UNAVAILABLE": _Code.UNAVAILABLE,
    "NOT_SUPPORTED": _Code.UNIMPLEMENTED,
    "DOES_NOT_FIT": _Code.FAILED_PRECONDITION,
    "STORAGE_FULL": _Code.RESOURCE_EXHAUSTED,
    "STORE_UNAVAILABLE": _Code.UNAVAILABLE,
    "DATABASE_UNAVAILABLE": _Code.UNAVAILABLE,
    "STALE_CONTROLLER": _Code.ABORTED,
    "STALE_ATTEMPT": _Code.ABORTED,
    "NO_FREE_SLOT": _Code.RESOURCE_EXHAUSTED,
    "RUN_NOT_FOUND": _Code.NOT_FOUND,
    "SHUTTING_DOWN": _Code.UNAVAILABLE,
    "INTERNAL": _Code.INTERNAL,
    # The next seven end jobs, not calls; a call that must name one answers so.
    "OUT_OF_MEMORY": _Code.RESOURCE_EXHAUSTED,
    "WORKER_KILLED": _Code.ABORTED,
    "WORKER_CRASHED": _Code.ABORTED,
    "CRASH_LOOP": _Code.ABORTED,
    "RECIPE_FAILED": _Code.FAILED_PRECONDITION,
    "DIVERGED": _Code.FAILED_PRECONDITION,
    "CHECKPOINT_CORRUPT": _Code.DATA_LOSS,
    "DATASET_UNREADABLE": _Code.FAILED_PRECONDITION,
    "TOO_MANY_REQUESTS": _Code.RESOURCE_EXHAUSTED,
}

_RESOURCE_TYPES: Final = {"jobs": "Job", "datasets": "Dataset", "models": "Model", "artifacts": "Artifact"}


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong with one field: its full path from the request's root, and what to do."""

    field: str
    description: str


class TuneyardError(Exception):
    """A failure that the caller is told about. Its message is for people: no path, no traceback."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_after: timedelta | None = None,
        resource: str | None = None,
    ) -> None:
        """`reason` is a name of ErrorReason without its prefix; `resource` a name such as "jobs/0198…"."""
        if reason not in STATUS_CODES:
            raise ValueError(f"no such reason: {reason}")
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after
        self.resource = resource

    @property
    def code(self) -> grpc.StatusCode:
        return STATUS_CODES[self.reason]


def invalid(field: str, description: str) -> TuneyardError:
    """The error for one field that breaks a rule."""
    return invalid_fields([Violation(field, description)])


def invalid_fields(violations: Sequence[Violation]) -> TuneyardError:
    """The error for fields that break their rules; the message names the first ones."""
    text = "; ".join(f"{violation.field}: {violation.description}" for violation in violations[:5])
    more = len(violations) - 5
    return TuneyardError(
        "INVALID_FIELD", f"{text}; and {more} more" if more > 0 else text, violations=violations
    )


def reason_value(reason: str) -> "errors_pb2.ErrorReason.ValueType":
    """The enum value of a reason's name without prefix; UNSPECIFIED for an unknown one."""
    return errors_pb2.ErrorReason.Value(_PREFIX + reason) if reason in STATUS_CODES else _UNSPECIFIED


def reason_name(value: int) -> str:
    """The name without prefix of an enum value; "" for UNSPECIFIED and for values of a newer release."""
    found = errors_pb2.ErrorReason.DESCRIPTOR.values_by_number.get(value)
    return "" if found is None or value == _UNSPECIFIED else found.name.removeprefix(_PREFIX)


_UNSPECIFIED: Final = errors_pb2.ERROR_REASON_UNSPECIFIED


def to_status(error: TuneyardError) -> status_pb2.Status:
    """The error as `google.rpc.Status`, small enough for a trailer: violations beyond it are counted."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    status = status_pb2.Status(
        code=error.code.value[0],
        message=error.message[:_MAX_MESSAGE_CHARACTERS],
        details=[_packed(info)],
    )
    if error.resource is not None:
        collection = error.resource.split("/")[-2] if "/" in error.resource else ""
        kind = _RESOURCE_TYPES.get(collection, "")
        status.details.append(
            _packed(error_details_pb2.ResourceInfo(resource_type=kind, resource_name=error.resource))
        )
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromTimedelta(error.retry_after)
        status.details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    if error.violations:
        _add_violations(status, info, error.violations)
    return status


def from_status(status: status_pb2.Status) -> TuneyardError | None:
    """What a peer's status says, or None where it is not one of ours: a proxy's, or a newer reason."""
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
    if info.domain != DOMAIN or info.reason not in STATUS_CODES:
        return None
    return TuneyardError(
        info.reason,
        status.message,
        metadata=dict(info.metadata),
        violations=violations,
        retry_after=retry_after,
        resource=resource,
    )


def _packed(detail: message.Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def _add_violations(
    status: status_pb2.Status, info: error_details_pb2.ErrorInfo, violations: Sequence[Violation]
) -> None:
    room = _MAX_STATUS_BYTES - status.ByteSize()
    bad = error_details_pb2.BadRequest()
    for violation in violations:
        room -= len(violation.field.encode()) + len(violation.description.encode()) + 12
        if room < 0:
            break
        bad.field_violations.add(field=violation.field, description=violation.description)
    omitted = len(violations) - len(bad.field_violations)
    if omitted:
        info.metadata["violations_omitted"] = str(omitted)
        status.details[0].Pack(info)
    status.details.append(_packed(bad))
