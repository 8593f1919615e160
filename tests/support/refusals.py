"""How a call was refused: the typed error behind a status."""

from collections.abc import Callable
from typing import Any

import grpc
from google.rpc import status_pb2  # type: ignore[import-untyped]

from tuneyard.rpc.errors import STATUS_DETAILS_KEY, TuneyardError, from_status


def refused(call: Callable[[], Any]) -> TuneyardError:
    """The error that a blocking call ends with, which must be typed and say something."""
    try:
        call()
    except grpc.RpcError as error:
        metadata: Any = error.trailing_metadata()
        details = dict(metadata or ()).get(STATUS_DETAILS_KEY)
        typed = from_status(status_pb2.Status.FromString(details)) if details else None
        assert typed is not None, f"an untyped error: {error}"
        assert typed.message
        return typed
    raise AssertionError("the call was not refused")
