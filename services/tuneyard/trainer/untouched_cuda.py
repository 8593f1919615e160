"""Keeps libraries from initialising CUDA when they are imported: a process that did cannot fork workers."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tuneyard.trainer.devices import query_capabilities


@contextmanager
def capabilities_from_driver(
    query: Callable[[], Sequence[tuple[int, int]]] = query_capabilities,
) -> Iterator[None]:
    """Meanwhile torch, where it is imported already, tells what accelerators can do without touching them.

    bitsandbytes asks as soon as it is imported, and torch would initialise CUDA to answer. Where the driver's
    tool does not tell either, torch answers as ever.
    """
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is None:
        yield
        return
    own = cuda.get_device_capability

    def told(device: object = None) -> tuple[int, int]:
        # Of unequal ones the least: what that can do, they all can.
        known = query()
        return min(known) if known else own(device)

    cuda.get_device_capability = told
    try:
        yield
    finally:
        cuda.get_device_capability = own
