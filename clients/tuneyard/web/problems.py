"""Errors as HTTP answers: RFC 9457 problems that carry the reason and the violated fields."""

import json
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response

from tuneyard.client import errors
from tuneyard.web.http_rules import BadRequest

MEDIA_TYPE: Final = "application/problem+json"

# As google/rpc/code.proto maps them, and as Envoy's transcoder does.
_OF_STATUS: Final = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "UNAUTHENTICATED": 401,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
}
_OF_CLASS: Final[tuple[tuple[type[errors.TuneyardError], int], ...]] = (
    (errors.ServerUnreachable, 503),
    (errors.DeadlineExceeded, 504),
    (errors.MessageTooLarge, 413),
    (errors.InvalidRequest, 400),
    (errors.NotFound, 404),
    # Of jobs that a call has waited for: nothing is wrong with the server.
    (errors.JobFailed, 422),
    (errors.JobCancelled, 409),
)
_TITLES: Final = {422: "Unprocessable Content", 499: "Client Closed Request"}
"""Which Python lacks, or calls as older standards do."""


def http_status(error: errors.TuneyardError) -> int:
    """The HTTP status of what a call ended with."""
    if isinstance(error, errors.MessageTooLarge):
        return 413
    if error.status:
        return _OF_STATUS.get(error.status, 500)
    return next((status for kind, status in _OF_CLASS if isinstance(error, kind)), 500)


def of_error(error: errors.TuneyardError, *, part: str = "") -> dict[str, Any]:
    """The problem of what a call ended with; `part` is what HTTP does not know of the fields' paths, such as
    "header." of a stream.
    """
    told: dict[str, Any] = _problem(http_status(error), error.message)
    if error.reason:
        told["reason"] = error.reason
    if error.violations:
        told["violations"] = [
            {"field": violation.field.removeprefix(part), "description": violation.description}
            for violation in error.violations
        ]
    if error.resource:
        told["resource"] = error.resource
    if error.metadata:
        told["metadata"] = error.metadata
    return told


def of_bad_request(error: BadRequest) -> dict[str, Any]:
    """The problem of a request that cannot be read."""
    told = _problem(HTTPStatus.BAD_REQUEST, error.message)
    told["reason"] = "INVALID_FIELD"
    if error.field:
        told["violations"] = [{"field": error.field, "description": error.message}]
    return told


def plain(status: int, detail: str, **more: Any) -> dict[str, Any]:
    """A problem of HTTP itself."""
    return _problem(status, detail) | more


def answer(problem: dict[str, Any], *, headers: dict[str, str] | None = None) -> Response:
    """The HTTP answer."""
    return Response(
        json.dumps(problem), status_code=problem["status"], media_type=MEDIA_TYPE, headers=headers
    )


def answer_error(error: errors.TuneyardError, *, part: str = "") -> Response:
    """The HTTP answer to what a call ended with, as `of_error` tells it."""
    return answer(of_error(error, part=part), headers=headers_of(error))


def too_many_tokens(seconds: int) -> dict[str, Any]:
    """The problem of a token that is not looked at after many wrong ones."""
    detail = f"Too many wrong tokens came from this address: try again in {seconds} s."
    return plain(
        HTTPStatus.TOO_MANY_REQUESTS, detail, reason="TOO_MANY_REQUESTS", retry_after_seconds=seconds
    )


def refusal(problem: dict[str, Any]) -> Response:
    """The answer to a caller who is not let in."""
    headers = {"WWW-Authenticate": "Bearer"} if problem["status"] == HTTPStatus.UNAUTHORIZED else {}
    if "retry_after_seconds" in problem:
        headers["Retry-After"] = str(problem["retry_after_seconds"])
    return answer(problem, headers=headers)


def headers_of(error: errors.TuneyardError) -> dict[str, str]:
    """What the answer to what a call ended with says beside its problem."""
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after.total_seconds())))
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def _problem(status: int, detail: str) -> dict[str, Any]:
    title = _TITLES.get(status) or HTTPStatus(status).phrase
    return {"type": "about:blank", "title": title, "status": int(status), "detail": detail}
