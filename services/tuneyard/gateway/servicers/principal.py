"""Who calls. With one token there is one principal; request ids are unique per principal and method."""

from typing import Any

from tuneyard.gateway.requests import RequestKey, request_key

_PRINCIPAL = "default"


def idempotency_key(request: Any) -> RequestKey | None:
    """The key of a creating call; None where the caller gave no request id."""
    return request_key(_PRINCIPAL, request.DESCRIPTOR.name.removesuffix("Request"), request)
