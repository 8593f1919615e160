"""What the folder store does beyond the contract: its layout, and what crashes and other tools do to it."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue

import pytest

from tuneyard.storage import (
    MIN_PART_SIZE_BYTES,
    FolderStore,
    InvalidKey,
    ObjectExists,
    ObjectNotFound,
    StorageError,
    StoreFull,
    StoreUnavailable,
    UploadNotFound,
)
from tuneyard.storage.folder_objects import FolderObjects

PART = MIN_PART_SIZE_BYTES
ANY_AGE = timedelta(0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> FolderStore:
    return reopen(root)


def reopen(root: Path) -> FolderStore:
    return FolderStore(root, public_url="http://localhost")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def keys(store: FolderStore) -> list[str]:
    return [info.key for info in store.list("")]


def test_people_can_browse_the_objects(store: FolderStore, root: Path) -> None:
    store.put("jobs/1/model.txt", b"weights")
    assert (root / "objects/jobs/1/model.txt").read_bytes() == b"weights"


def test_a_store_can_be_moved(store: FolderStore, root: Path, tmp_path: Path) -> None:
    put = store.put("a/b", b"x")
    root.rename(tmp_path / "moved")
    assert reopen(tmp_path / "moved").stat("a/b").sha256 == put.sha256


def test_stores_on_one_root_share_a_secret_of_the_owner_alone(root: Path) -> None:
    def sign(_: int) -> str:
        store = FolderStore(
            root, public_url="http://localhost", clock=lambda: datetime(2026, 1, 1, tzinfo=UTC)
        )
        return store.sign_get("k", expires=timedelta(hours=1))

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(sign, range(8)))) == 1
    assert stat.S_IMODE((root / "signing.key").stat().st_mode) == 0o600


def test_replaced_and_deleted_objects_leave_no_bytes(store: FolderStore, root: Path) -> None:
    for number in range(5):
        store.put("a/b/k", b"%d" % number)
    assert len(files(root / "blobs")) == 1
    store.delete("a/b/k")
    assert files(root / "blobs") == files(root / "incoming") == []
    assert list((root / "objects").iterdir()) == []


def test_a_reader_of_a_replaced_object_reads_it_to_its_end(store: FolderStore) -> None:
    store.put("k", b"old" * 10**6)
    reader = store.read("k")
    first = next(reader)
    store.put("k", b"new")
    assert first + b"".join(reader) == b"old" * 10**6


@pytest.mark.parametrize(("first", "second"), [("a/b", "a"), ("a", "a/b"), ("a", "a/b/c")])
@pytest.mark.parametrize("if_absent", [True, False])
def test_a_key_cannot_be_a_folder_too(store: FolderStore, first: str, second: str, if_absent: bool) -> None:
    store.put(first, b"x")
    with pytest.raises(InvalidKey, match="folder"):
        store.put(second, b"y", if_absent=if_absent)
    assert keys(store) == [first]
    assert store.sweep(older_than=ANY_AGE) == 0


def test_a_file_that_somebody_lays_there_is_served_without_a_hash(store: FolderStore, root: Path) -> None:
    (root / "objects/mine").mkdir()
    (root / "objects/mine/file").write_bytes(b"x")
    assert (store.stat("mine/file").sha256, store.stat("mine/file").size_bytes) == ("", 1)
    assert b"".join(store.read("mine/file")) == b"x"
    assert keys(store) == ["mine/file"]
    store.delete("mine/file")
    assert keys(store) == []


def test_links_to_elsewhere_are_not_followed(store: FolderStore, root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (root / "objects/link").symlink_to(tmp_path / "secret")
    (root / "objects/folder").symlink_to(tmp_path)
    (root / "objects/bad\nname").touch()
    os.mkfifo(root / "objects/pipe")
    for key in ("link", "folder", "pipe"):
        with pytest.raises(ObjectNotFound):
            store.read(key)
    assert keys(store) == []


def test_a_sweep_takes_what_crashes_left_and_nothing_else(store: FolderStore, root: Path) -> None:
    store.put("kept", b"x")
    upload = store.create_upload("k", part_size_bytes=PART)
    orphan = root / "blobs/ab" / ("ab" * 32 + "-" + "0" * 32)
    orphan.parent.mkdir(exist_ok=True)
    orphan.touch()
    (root / "incoming/half").touch()
    (root / "uploads/never-opened").mkdir()
    assert store.sweep(older_than=timedelta(hours=1)) == 0
    assert store.sweep(older_than=ANY_AGE) == 3
    assert b"".join(store.read("kept")) == b"x"
    assert store.list_parts("k", upload) == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EIO, StoreUnavailable),
        (errno.EACCES, StoreUnavailable),
        (errno.EROFS, StoreUnavailable),
    ],
)
@pytest.mark.parametrize("call", ["write", "pwrite", "fsync", "link", "rename"])
def test_errors_of_the_disk_are_typed_and_name_no_path(
    root: Path, monkeypatch: pytest.MonkeyPatch, code: int, expected: type[StorageError], call: str
) -> None:
    store = reopen(root)
    store.put("kept", b"before")
    upload = store.create_upload("kept", part_size_bytes=PART)

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code), str(root))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(expected) as caught:
            if call == "pwrite":
                store.put_part("kept", upload, 1, b"after")
            else:
                store.put("kept", b"after")
    assert str(root) not in caught.value.message
    assert b"".join(store.read("kept")) == b"before"
    assert files(root / "incoming") == []
    assert len(files(root / "blobs")) == 1
    assert store.list_parts("kept", upload) == []


def test_a_torn_line_of_the_part_log_spoils_only_itself(store: FolderStore, root: Path) -> None:
    upload = store.create_upload("k", part_size_bytes=PART)
    one = store.put_part("k", upload, 1, b"x" * PART)
    with (root / "uploads" / upload / "parts").open("ab") as log:
        log.write(b'\n{"boot": "x", "xxh3": 1, "numb')
    two = reopen(root).put_part("k", upload, 2, b"y")
    assert reopen(root).list_parts("k", upload) == [one, two]


def test_parts_of_an_earlier_boot_are_believed_if_their_bytes_are_there(
    store: FolderStore, root: Path
) -> None:
    upload = store.create_upload("k", part_size_bytes=PART)
    parts = [store.put_part("k", upload, number, os.urandom(PART)) for number in (1, 2)]
    log = root / "uploads" / upload / "parts"
    log.write_text(log.read_text().replace('"boot": "', '"boot": "earlier '))
    assert reopen(root).list_parts("k", upload) == parts
    with (root / "uploads" / upload / "data").open("r+b") as data:
        data.write(bytes(4096))
    assert reopen(root).list_parts("k", upload) == parts[1:]


def test_completing_goes_on_where_it_was_cut_short(
    store: FolderStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = store.create_upload("k", part_size_bytes=PART)
    part = store.put_part("k", upload, 1, b"x")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "gone")

    with monkeypatch.context() as patch:
        patch.setattr(FolderObjects, "commit", fail)
        with pytest.raises(StoreUnavailable):
            store.complete_upload("k", upload, [part])
    with pytest.raises(UploadNotFound):
        store.put_part("k", upload, 1, b"y")
    later = reopen(root)
    assert later.list_parts("k", upload) == [part]
    made = later.complete_upload("k", upload, [part])
    assert made.sha256 == hashlib.sha256(b"x").hexdigest()
    assert list((root / "uploads").iterdir()) == []


def test_a_part_that_breaks_off_is_absent(store: FolderStore) -> None:
    upload = store.create_upload("k", part_size_bytes=PART)
    store.put_part("k", upload, 1, b"before")

    def breaking() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        store.put_part_stream("k", upload, 1, breaking())
    assert store.list_parts("k", upload) == []
    part = store.put_part("k", upload, 1, b"after")
    assert store.complete_upload("k", upload, [part]).size_bytes == 5


def test_completing_waits_for_a_part_on_its_way(store: FolderStore) -> None:
    upload = store.create_upload("k", part_size_bytes=PART)
    one = store.put_part("k", upload, 1, b"x" * PART)
    begun: SimpleQueue[None] = SimpleQueue()
    gate: SimpleQueue[bytes] = SimpleQueue()

    def slow() -> Iterator[bytes]:
        yield b"y"
        begun.put(None)
        yield gate.get()

    with ThreadPoolExecutor(2) as pool:
        late = pool.submit(store.put_part_stream, "k", upload, 2, slow())
        begun.get(timeout=60)
        made = pool.submit(store.complete_upload, "k", upload, [one])
        gate.put(b"y")
        assert late.result(timeout=60).size_bytes == 2
        assert made.result(timeout=60).size_bytes == PART
    assert b"".join(store.read("k")) == b"x" * PART


def test_a_put_that_meets_a_vanishing_folder_tries_again(store: FolderStore) -> None:
    def churn(key: str) -> None:
        for _ in range(50):
            store.put(key, b"x")
            store.delete(key)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(churn, ["a/b/1", "a/b/2", "a/3", "a/b/c/4"]))
    assert keys(store) == []


def test_a_second_store_on_the_root_sees_creations_once(store: FolderStore, root: Path) -> None:
    reopen(root).put("k", b"x", if_absent=True)
    with pytest.raises(ObjectExists):
        store.put("k", b"y", if_absent=True)
