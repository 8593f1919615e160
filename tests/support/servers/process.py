"""Starting a server process that dies with its parent, and waiting until it answers."""

import ctypes
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class ServerUnavailable(Exception):
    """The server cannot be had on this machine; the message says why and what would help."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def running(
    command: Sequence[str],
    *,
    log: Path,
    user: str | None = None,
    env: Mapping[str, str] | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
    cwd: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a server for the duration of the block; `user` needs root. Output goes to `log`."""
    group = pwd.getpwnam(user).pw_gid if user else None
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            user=user,
            group=group,
            extra_groups=[] if user else None,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - this program has one thread
        )
    try:
        yield process
    finally:
        stop(process, stop_signal)


def stop(process: subprocess.Popen[bytes], stop_signal: signal.Signals, *, grace_seconds: float = 10) -> None:
    if process.poll() is None:
        process.send_signal(stop_signal)
        try:
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def wait_until_ready(
    answers: Callable[[], bool], *, process: subprocess.Popen[bytes], log: Path, timeout_seconds: float = 60
) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not answers():
        if process.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(errors="replace")[-2000:]
            raise ServerUnavailable(f"{process.args!r} did not become ready:\n{tail}")
        time.sleep(0.05)
