"""Bounds for code that is not ours to trust: a chat template comes with a model, and may loop without end.

jinja's sandbox keeps a template from Python's inner parts; it bounds neither time nor memory.
"""

import ctypes
import mmap
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class OutOfBounds(Exception):
    """The guarded code took too long or wanted too much memory; the message says which, for people."""


class _TimeIsUp(BaseException):
    """Raised into the guarded thread; no `except Exception` on its way catches it."""


@contextmanager
def bounded(*, seconds: float, extra_memory_bytes: int | None = None) -> Iterator[None]:
    """Ends what runs inside by OutOfBounds: after so many seconds, or at an allocation beyond so many bytes.

    Time runs out between two instructions of Python: one long call into C is not interrupted. The memory's
    bound holds for the whole process meanwhile, so that it is for stages in which nothing else allocates.
    """
    try:
        with _time_limit(seconds), _memory_limit(extra_memory_bytes):
            yield
    except _TimeIsUp:
        raise OutOfBounds(f"takes longer than {seconds:g} seconds") from None
    except MemoryError:
        raise OutOfBounds("wants too much memory") from None


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    thread = ctypes.c_ulong(threading.get_ident())
    raise_in_thread = ctypes.pythonapi.PyThreadState_SetAsyncExc
    mutex = threading.Lock()
    state = {"inside": True, "raised": False}

    def interrupt() -> None:
        with mutex:
            if state["inside"]:
                state["raised"] = True
                raise_in_thread(thread, ctypes.py_object(_TimeIsUp))

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with mutex:
            state["inside"] = False
            if state["raised"]:
                # It may not have been delivered yet, and must not be once we are outside.
                raise_in_thread(thread, None)
    if state["raised"]:
        raise _TimeIsUp


@contextmanager
def _memory_limit(extra_bytes: int | None) -> Iterator[None]:
    if extra_bytes is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _address_space_bytes() + extra_bytes
    for bound in (soft, hard):
        limit = limit if bound == resource.RLIM_INFINITY else min(limit, bound)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
