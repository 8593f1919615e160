"""What the environment says about the server. Nothing else in this package reads it."""

import os
from collections.abc import Mapping

from tuneyard.client.connection import DEFAULT_SERVER


def default_server(environment: Mapping[str, str] = os.environ) -> str:
    """TUNEYARD_SERVER, HOST:PORT. Default: the gateway's default port on this machine."""
    return environment.get("TUNEYARD_SERVER") or DEFAULT_SERVER


def default_token(environment: Mapping[str, str] = os.environ) -> str | None:
    """TUNEYARD_TOKEN, the bearer token of every call. Default: none, which a loopback server accepts."""
    return environment.get("TUNEYARD_TOKEN") or None
