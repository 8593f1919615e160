"""Bounds on what libraries fetch that set none of their own: a server that never answers ends no run."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

_TIMEOUT_SECONDS = 15.0


@contextmanager
def bounded_network() -> Iterator[None]:
    """Without this, a server that never answers would hold the run for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
