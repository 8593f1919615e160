"""Reading from an S3 server whose connections break, with a bucket that lives in memory."""

import io
from datetime import UTC, datetime
from typing import cast

import pytest
from urllib3.exceptions import ProtocolError

from tuneyard.storage import StoreUnavailable
from tuneyard.storage.s3_bucket import Head, S3Bucket
from tuneyard.storage.s3_download import Download

DATA = bytes(range(256)) * 4


class BreakingResponse(io.BytesIO):
    """Gives so many bytes, then breaks."""

    def __init__(self, data: bytes, *, until: int) -> None:
        super().__init__(data[:until])
        self.released = False

    def read(self, size: int | None = -1) -> bytes:
        chunk = super().read(min(size or 0, 100))
        if not chunk:
            raise ProtocolError("broken")
        return chunk

    def release_conn(self) -> None:
        self.released = True


class FakeBucket:
    """One object, served by responses that break after as many bytes as `breaks` says."""

    def __init__(self, *breaks: int) -> None:
        self.breaks = list(breaks)
        self.etag = "first"
        self.opened: list[BreakingResponse] = []

    def get(self, name: str, *, offset: int, length: int | None) -> tuple[Head, BreakingResponse]:
        end = len(DATA) if length is None else offset + length
        self.opened.append(BreakingResponse(DATA[offset:end], until=self.breaks.pop(0)))
        return Head(len(DATA), self.etag, datetime.now(UTC), {}), self.opened[-1]


def download(bucket: FakeBucket, *, offset: int = 0, length: int | None = None) -> Download:
    return Download(cast(S3Bucket, bucket), "k", key="k", offset=offset, length=length)


def test_a_broken_connection_is_taken_up_where_it_broke() -> None:
    bucket = FakeBucket(300, 1, 10_000)
    assert b"".join(download(bucket, offset=7, length=900).reader()) == DATA[7:907]
    assert len(bucket.opened) == 3
    assert all(response.released for response in bucket.opened)


def test_connections_that_break_at_once_are_given_up() -> None:
    bucket = FakeBucket(300, *[0] * 10)
    with pytest.raises(StoreUnavailable, match="broke off"):
        list(download(bucket).reader())
    assert len(bucket.opened) <= 5


def test_another_object_is_not_mixed_in() -> None:
    bucket = FakeBucket(300, 10_000)
    reader = download(bucket).reader()
    next(reader)
    bucket.etag = "second"
    with pytest.raises(StoreUnavailable, match="replaced"):
        list(reader)


def test_closing_a_reader_lets_its_connection_go() -> None:
    bucket = FakeBucket(300)
    reader = download(bucket).reader()
    next(reader)
    reader.close()
    assert bucket.opened[0].released
    assert bucket.opened[0].closed
