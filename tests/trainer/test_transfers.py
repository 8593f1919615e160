import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tuneyard.storage import ChecksumMismatch, FolderStore, ObjectNotFound, StoreFull, StoreUnavailable
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.transfers import TransferCancelled, Transfers, local_path


class Clock:
    """Time that passes only while somebody sleeps."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class FailingStore:
    """A folder store that fails so many times before each success."""

    def __init__(self, root: Path, *, failures: int, error: Callable[[], Exception]) -> None:
        self.store = FolderStore(root, public_url="http://127.0.0.1:1")
        self.failures = failures
        self.error = error

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if self.failures:
                self.failures -= 1
                raise self.error()
            return method(*args, **kwargs)

        return call


def transfers(store: Any, **arguments: Any) -> Transfers:
    clock = Clock()
    defaults: dict[str, Any] = {"open_store": lambda: store, "clock": clock, "sleep": clock.sleep}
    return Transfers(**(defaults | arguments))


def away() -> Exception:
    return StoreUnavailable("away")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content" * 1000)
    return path


def test_an_upload_tells_size_and_hash(tmp_path: Path, file: Path) -> None:
    store = FolderStore(tmp_path / "store", public_url="http://127.0.0.1:1")
    stored = transfers(store).upload(file, "a/file")
    assert stored.size_bytes == 7000
    assert store.stat("a/file").sha256 == stored.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_store_that_is_away_is_waited_for_and_told_of(tmp_path: Path, file: Path) -> None:
    told: list[int] = []
    store = FailingStore(tmp_path / "store", failures=3, error=away)
    transfers(store, on_waiting=lambda: told.append(1)).upload(file, "a/file")
    assert len(told) == 3


def test_patience_ends(tmp_path: Path, file: Path) -> None:
    store = FailingStore(tmp_path / "store", failures=10**6, error=away)
    clock = Clock()
    with pytest.raises(RecipeError) as caught:
        transfers(store, clock=clock, sleep=clock.sleep, patience=timedelta(seconds=60)).upload(file, "a/b")
    assert caught.value.reason == "STORE_UNAVAILABLE" and caught.value.retryable
    assert 60 <= clock.now < 61


def test_a_cancel_ends_the_wait(tmp_path: Path, file: Path) -> None:
    clock = Clock()
    store = FailingStore(tmp_path / "store", failures=10**6, error=away)
    with pytest.raises(TransferCancelled):
        transfers(store, clock=clock, sleep=clock.sleep, is_cancelled=lambda: clock.now > 3).upload(file, "a")
    assert clock.now < 4


def test_a_full_store_is_told_at_once(tmp_path: Path, file: Path) -> None:
    store = FailingStore(tmp_path / "store", failures=1, error=lambda: StoreFull("full"))
    with pytest.raises(RecipeError) as caught:
        transfers(store).upload(file, "a/file")
    assert caught.value.reason == "STORAGE_FULL"


def test_a_download_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    content = bytes(range(256)) * 20000
    store = FolderStore(tmp_path / "store", public_url="http://127.0.0.1:1")
    store.put("a/b", content)
    offsets: list[int] = []

    class Breaking:
        def read(self, key: str, *, offset: int = 0) -> Any:
            offsets.append(offset)
            return _Chunks(store.read(key, offset=offset), broken=len(offsets) < 3)

    path = tmp_path / "copy"
    transfers(Breaking()).download("a/b", path, sha256=hashlib.sha256(content).hexdigest())
    assert path.read_bytes() == content
    assert offsets == [0, 1 << 20, 2 << 20]


class _Chunks:
    """A reader that breaks off behind its first chunk."""

    def __init__(self, chunks: Iterator[bytes], *, broken: bool) -> None:
        self._chunks = chunks
        self._broken = broken

    def __enter__(self) -> Iterator[bytes]:
        if not self._broken:
            return self._chunks
        return self._breaking()

    def _breaking(self) -> Iterator[bytes]:
        yield next(self._chunks)
        raise away()

    def __exit__(self, *_: object) -> None:
        return None


def test_other_bytes_than_promised_are_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store", public_url="http://127.0.0.1:1")
    store.put("a/b", b"content")
    with pytest.raises(ChecksumMismatch):
        transfers(store).download("a/b", tmp_path / "copy", sha256="0" * 64)


def test_an_absent_object_is_not_waited_for(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store", public_url="http://127.0.0.1:1")
    with pytest.raises(ObjectNotFound):
        transfers(store).download("a/b", tmp_path / "copy", sha256="0" * 64)


def test_the_store_is_opened_at_the_first_use_and_again_if_it_was_away(tmp_path: Path, file: Path) -> None:
    opened: list[int] = []

    def open_store() -> FolderStore:
        opened.append(1)
        if len(opened) == 1:
            raise away()
        return FolderStore(tmp_path / "store", public_url="http://127.0.0.1:1")

    using = transfers(None, open_store=open_store)
    assert opened == []
    using.upload(file, "a/b")
    using.upload(file, "a/c")
    assert len(opened) == 2


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "", "."])
def test_a_name_that_leads_out_of_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError):
        local_path(tmp_path / "inner", name)
