"""Hears the workers' datagrams, "there is a record in my journal", and wakes who watches that run."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Wakes:
    """One datagram socket for all runs. A datagram is a run folder's name; a lost one costs a poll."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._socket.bind(str(path))
        path.chmod(0o600)
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._receive)

    @contextmanager
    def watching(self, name: str) -> Iterator[asyncio.Event]:
        """An event that is set at each wake of the run; the watcher clears it."""
        event = asyncio.Event()
        self._watchers.setdefault(name, set()).add(event)
        try:
            yield event
        finally:
            watchers = self._watchers[name]
            watchers.discard(event)
            if not watchers:
                del self._watchers[name]

    def wake(self, name: str) -> None:
        """Wake the run's watchers."""
        for event in self._watchers.get(name, ()):
            event.set()

    def close(self) -> None:
        """Stop listening; idempotent."""
        if self._socket.fileno() < 0:
            return
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _receive(self) -> None:
        names = set()
        # Bounded, so that a storm of datagrams cannot keep the loop from its other work.
        for _ in range(256):
            try:
                names.add(self._socket.recv(512))
            except BlockingIOError:
                break
        for name in names:
            self.wake(name.decode(errors="replace"))
