"""What a trainer's server and an inference worker say to each other: frames over a Unix socket.

A frame is the length of its payload (u32, little-endian), its kind (u8) and the payload. Nothing here knows
what is asked. The worker's side is blocking and has no event loop.
"""

import asyncio
import json
import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple, Self

MAX_PAYLOAD_BYTES = 256 << 20
"""Above everything that an honest worker answers: generated images are the largest."""

_HEADER = struct.Struct("<IB")
_SOCKET = "socket"


class Kind(IntEnum):
    """What a frame is."""

    READY = 1
    """From the worker, once: the model is loaded."""
    QUESTION = 2
    """To the worker: an InferRequest with the method and the public request."""
    PIECE = 3
    """From the worker: a serialized public response."""
    DONE = 4
    """From the worker: the answer is whole, or was given up as asked."""
    FAILED = 5
    """From the worker: why the model cannot be loaded, or there is no answer; a `Failure`."""
    CANCEL = 6
    """To the worker: nobody waits for the answer any more."""


_KINDS = frozenset(Kind)


class Frame(NamedTuple):
    """One message."""

    kind: Kind
    payload: bytes


class BrokenFrame(Exception):
    """What came is no frame of ours."""


@dataclass(frozen=True)
class Failure:
    """Why there is no answer, for the caller: no path, no traceback."""

    reason: str
    """A name of ErrorReason without its prefix."""
    message: str
    violations: tuple[tuple[str, str], ...] = ()
    """Pairs of a field's path in the public request and what is wrong with it."""

    def pack(self) -> bytes:
        """The failure as a FAILED frame's payload."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Raises BrokenFrame for what `pack` did not make."""
        try:
            values: dict[str, Any] = json.loads(payload)
            violations = tuple((str(field), str(text)) for field, text in values["violations"])
            return cls(str(values["reason"]), str(values["message"]), violations)
        except (ValueError, KeyError, TypeError) as error:
            raise BrokenFrame("not a failure") from error


def pack(kind: Kind, payload: bytes = b"") -> bytes:
    """A frame's bytes."""
    return _HEADER.pack(len(payload), kind) + payload


async def read_frame(reader: asyncio.StreamReader) -> Frame:
    """The next frame. Raises BrokenFrame, and IncompleteReadError or OSError where the peer is gone."""
    length, kind = _opened(await reader.readexactly(_HEADER.size))
    return Frame(kind, await reader.readexactly(length))


def listen(folder: Path) -> socket.socket:
    """A non-blocking socket in the folder, on which the folder's worker is waited for."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address(folder) as address:
            listener.bind(address)
        listener.listen(1)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


class Connection:
    """The worker's end."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    @classmethod
    def to(cls, folder: Path) -> Self:
        """Connects to the server that listens in the folder. Raises OSError where it does not."""
        end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _address(folder) as address:
                end.connect(address)
        except OSError:
            end.close()
            raise
        return cls(end)

    def send(self, kind: Kind, payload: bytes = b"") -> None:
        """Sends one frame. Raises OSError where the server is gone."""
        self._end.sendall(pack(kind, payload))

    def receive(self) -> Frame | None:
        """Waits for the next frame; None where the server is gone."""
        header = self._read(_HEADER.size)
        if header is None:
            return None
        length, kind = _opened(header)
        payload = self._read(length)
        return None if payload is None else Frame(kind, payload)

    def has_word(self) -> bool:
        """True if `receive` would find something without waiting for it: a frame, or the server's end."""
        return bool(select.select([self._end], [], [], 0)[0])

    def close(self) -> None:
        self._end.close()

    def _read(self, count: int) -> bytes | None:
        data = bytearray(count)
        view, got = memoryview(data), 0
        while got < count:
            try:
                received = self._end.recv_into(view[got:])
            except ConnectionResetError:
                return None
            if not received:
                return None
            got += received
        return bytes(data)


def _opened(header: bytes) -> tuple[int, Kind]:
    length, number = _HEADER.unpack(header)
    if length > MAX_PAYLOAD_BYTES or number not in _KINDS:
        raise BrokenFrame(f"a frame of kind {number} and {length} bytes")
    return length, Kind(number)


@contextmanager
def _address(folder: Path) -> Iterator[str]:
    """The socket's address, which is short however long the folder's path is: addresses hold 107 bytes."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{_SOCKET}"
    finally:
        os.close(descriptor)
