"""The frames between a trainer's server and an inference worker, over real sockets."""

import asyncio
import threading
from pathlib import Path

import pytest

from tuneyard.trainer import frames
from tuneyard.trainer.frames import BrokenFrame, Connection, Failure, Kind


async def connected(folder: Path) -> tuple[Connection, asyncio.StreamReader, asyncio.StreamWriter]:
    """Both ends, in a folder whose path is longer than a socket's address may be."""
    folder = folder / ("deep/" * 40)
    folder.mkdir(parents=True)
    with frames.listen(folder) as listener:
        worker = Connection.to(folder)
        end, _ = await asyncio.get_running_loop().sock_accept(listener)
    reader, writer = await asyncio.open_unix_connection(sock=end)
    return worker, reader, writer


async def test_frames_arrive_whole_and_in_order_however_large(tmp_path: Path) -> None:
    worker, reader, writer = await connected(tmp_path)
    large = bytes(range(256)) * 20_000
    sender = threading.Thread(
        target=lambda: [worker.send(Kind.PIECE, large), worker.send(Kind.PIECE), worker.send(Kind.DONE)]
    )
    sender.start()
    got = [await frames.read_frame(reader) for _ in range(3)]
    sender.join()
    assert got == [(Kind.PIECE, large), (Kind.PIECE, b""), (Kind.DONE, b"")]
    writer.close()
    worker.close()


async def test_the_worker_sees_a_word_without_waiting_for_it(tmp_path: Path) -> None:
    worker, _, writer = await connected(tmp_path)
    assert not worker.has_word()
    writer.write(frames.pack(Kind.CANCEL))
    await writer.drain()
    assert worker.has_word()
    assert worker.receive() == (Kind.CANCEL, b"")
    writer.close()
    worker.close()


async def test_the_worker_hears_that_the_server_is_gone(tmp_path: Path) -> None:
    worker, _, writer = await connected(tmp_path)
    writer.write(frames.pack(Kind.QUESTION, b"half of it")[:-3])
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert worker.has_word()
    assert worker.receive() is None
    worker.close()


async def test_what_is_no_frame_is_refused(tmp_path: Path) -> None:
    worker, reader, writer = await connected(tmp_path)
    worker._end.sendall(b"GET / HTTP/1.1\r\n")
    with pytest.raises(BrokenFrame):
        await frames.read_frame(reader)
    writer.close()
    worker.close()


def test_a_failure_keeps_its_violations() -> None:
    failure = Failure("INVALID_FIELD", "no image", (("images[2].content", "cut off"),))
    assert Failure.unpack(failure.pack()) == failure


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"reason": "X"}', b"\xff"])
def test_what_is_no_failure_is_refused(payload: bytes) -> None:
    with pytest.raises(BrokenFrame):
        Failure.unpack(payload)
