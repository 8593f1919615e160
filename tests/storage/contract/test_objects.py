"""What every store does with whole objects."""

import hashlib
import io
import resource
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tuneyard.storage import (
    MIN_PART_SIZE_BYTES,
    ChecksumMismatch,
    InvalidKey,
    ObjectExists,
    ObjectNotFound,
    ObjectStore,
)

MIB = 1024 * 1024
# Around the sizes at which a store begins to cut objects into parts, and the chunks that it reads.
SIZES = [
    0,
    1,
    MIB,
    MIN_PART_SIZE_BYTES - 1,
    MIN_PART_SIZE_BYTES + 1,
    16 * MIB - 1,
    16 * MIB,
    16 * MIB + 1,
    17 * MIB,
]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def content(store: ObjectStore, key: str) -> bytes:
    return b"".join(store.read(key))


def keys(store: ObjectStore, prefix: str) -> list[str]:
    return [info.key for info in store.list(prefix)]


@pytest.mark.parametrize("size", SIZES)
def test_an_object_of_any_size_comes_back_with_its_hash(
    store: ObjectStore, random_bytes: bytes, size: int
) -> None:
    data = random_bytes[:size]
    put = store.put("a/b", io.BytesIO(data))
    assert (put.size_bytes, put.sha256) == (size, sha256(data))
    assert content(store, "a/b") == data
    found = store.stat("a/b")
    assert (found.key, found.size_bytes, found.sha256) == ("a/b", size, put.sha256)
    assert abs(found.modified - put.modified) < timedelta(seconds=5)
    assert abs(found.modified - datetime.now(UTC)) < timedelta(seconds=60)


def test_a_stream_may_come_in_blocks_of_any_size(store: ObjectStore) -> None:
    blocks = [b"", b"one", b"", b"two" * 1000, b""]
    store.put("k", iter(blocks))
    assert content(store, "k") == b"".join(blocks)


def test_a_file_is_stored_and_fetched(store: ObjectStore, random_bytes: bytes, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(random_bytes)
    put = store.put_file("k", tmp_path / "in")
    assert put.sha256 == sha256(random_bytes)
    got = store.get_file("k", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == random_bytes
    assert got.sha256 == put.sha256
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "store") == ["in", "out"]


def test_the_last_writer_of_a_key_wins(store: ObjectStore) -> None:
    store.put("k", b"first")
    store.put("k", b"second")
    assert content(store, "k") == b"second"
    assert store.stat("k").sha256 == sha256(b"second")


@pytest.mark.parametrize("size", [100, 17 * MIB])
def test_bytes_with_another_hash_than_promised_are_not_stored(
    store: ObjectStore, random_bytes: bytes, size: int
) -> None:
    store.put("kept", b"before")
    for key in ("new", "kept"):
        with pytest.raises(ChecksumMismatch):
            store.put(key, random_bytes[:size], sha256=sha256(b"other"))
    assert keys(store, "") == ["kept"]
    assert content(store, "kept") == b"before"


@pytest.mark.parametrize("size", [100, 17 * MIB])
def test_a_promised_hash_that_holds_is_accepted(store: ObjectStore, random_bytes: bytes, size: int) -> None:
    data = random_bytes[:size]
    assert store.put("k", data, sha256=sha256(data)).sha256 == sha256(data)
    assert content(store, "k") == data


@pytest.mark.parametrize("promised", [True, False])
@pytest.mark.parametrize("size", [100, 20 * MIB])
def test_an_interrupted_put_leaves_nothing(store: ObjectStore, size: int, promised: bool) -> None:
    def breaking() -> Iterator[bytes]:
        for _ in range(0, size, 1000):
            yield b"x" * 1000
        raise ConnectionError("the client went away")

    store.put("kept", b"before")
    for key in ("new", "kept"):
        with pytest.raises(ConnectionError, match="went away"):
            store.put(key, breaking(), sha256="0" * 64 if promised else None)
    assert keys(store, "") == ["kept"]
    assert content(store, "kept") == b"before"


@pytest.mark.parametrize("size", [100, 17 * MIB])
def test_create_once_refuses_a_key_that_is_taken(store: ObjectStore, random_bytes: bytes, size: int) -> None:
    store.put("k", random_bytes[:size], if_absent=True)
    with pytest.raises(ObjectExists):
        store.put("k", b"late", if_absent=True)
    assert store.stat("k").size_bytes == size


@pytest.mark.parametrize("size", [100, 17 * MIB])
def test_of_concurrent_creators_exactly_one_wins(store: ObjectStore, random_bytes: bytes, size: int) -> None:
    count = 4
    barrier = threading.Barrier(count)

    def blocks(own: bytes) -> Iterator[bytes]:
        # Everyone has found the key absent before anyone ends.
        barrier.wait()
        yield own
        yield random_bytes[:size]

    def create(number: int) -> str | None:
        try:
            return store.put("k", blocks(b"%d" % number), if_absent=True).sha256
        except ObjectExists:
            return None

    with ThreadPoolExecutor(count) as pool:
        winners = [found for found in pool.map(create, range(count)) if found]
    assert winners == [store.stat("k").sha256]
    assert sha256(content(store, "k")) == winners[0]


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, None), (0, 0), (0, 1), (5, 10), (MIB - 1, 2), (3 * MIB, None), (3 * MIB - 1, None), (9 * MIB, 5)],
)
def test_a_range_is_cut_out_of_an_object(
    store: ObjectStore, random_bytes: bytes, offset: int, length: int | None
) -> None:
    data = random_bytes[: 3 * MIB]
    store.put("k", data)
    end = None if length is None else offset + length
    assert b"".join(store.read("k", offset=offset, length=length)) == data[offset:end]


def test_a_read_comes_in_chunks_of_a_mebibyte(store: ObjectStore, random_bytes: bytes) -> None:
    store.put("k", random_bytes[: 2 * MIB + 5])
    assert [len(chunk) for chunk in store.read("k")] == [MIB, MIB, 5]


def test_a_read_may_be_closed_early(store: ObjectStore, random_bytes: bytes) -> None:
    store.put("k", random_bytes)
    for _ in range(50):
        with closing(store.read("k")) as reader:
            assert len(next(reader)) == MIB
        assert list(reader) == []


def test_a_missing_object_is_reported_at_once(store: ObjectStore, tmp_path: Path) -> None:
    store.put("a/b", b"x")
    for key in ("a", "a/b/c", "a/c", "zzz"):
        for call in (store.read, store.stat):
            with pytest.raises(ObjectNotFound):
                call(key)
        with pytest.raises(ObjectNotFound):
            store.get_file(key, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_list_is_in_the_order_of_whole_keys(store: ObjectStore) -> None:
    names = ["a/b/c", "a/b", "a-b", "a.b", "a/bc", "a0", "b/ü", "b/z", "b/日本", "A"]
    names.remove("a/b")
    for name in names:
        store.put(name, name.encode())
    found = list(store.list(""))
    assert [info.key for info in found] == sorted(names, key=str.encode)
    assert [info.sha256 for info in found] == [sha256(info.key.encode()) for info in found]


def test_a_prefix_may_end_anywhere(store: ObjectStore) -> None:
    for name in ("a/b/1", "a/b/2", "a/bc/1", "a/c", "ab"):
        store.put(name, b"")
    assert keys(store, "a/b") == ["a/b/1", "a/b/2", "a/bc/1"]
    assert keys(store, "a/b/") == ["a/b/1", "a/b/2"]
    assert keys(store, "a/b/2") == ["a/b/2"]
    assert keys(store, "a") == ["a/b/1", "a/b/2", "a/bc/1", "a/c", "ab"]
    assert keys(store, "x/y") == []
    assert keys(store, "a/c/") == []


def test_many_objects_are_listed_once_each(store: ObjectStore) -> None:
    names = [f"n/{number:04}" for number in range(150)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put(name, b"x"), names))
    assert keys(store, "n/") == names


def test_deleting_is_idempotent(store: ObjectStore) -> None:
    store.put("a/b/c", b"x")
    store.delete("a/b/c")
    store.delete("a/b/c")
    store.delete("never")
    assert keys(store, "") == []
    store.put("a/b/c", b"again")
    assert content(store, "a/b/c") == b"again"


def test_deleting_a_prefix_spares_its_neighbours(store: ObjectStore) -> None:
    for name in ("jobs/1/a", "jobs/1/b/c", "jobs/10/a", "jobs/2"):
        store.put(name, b"x")
    assert store.delete_prefix("jobs/1/") == 2
    assert store.delete_prefix("jobs/1/") == 0
    assert keys(store, "") == ["jobs/10/a", "jobs/2"]


@pytest.mark.parametrize("prefix", ["jobs/1", "", "/", "jobs//"])
def test_only_whole_folders_are_deleted(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(InvalidKey):
        store.delete_prefix(prefix)


@pytest.mark.parametrize("key", ["日本語/ファイル.png", "a b/c+d&e=f%20?#.txt", "é/~!*'()", "x" * 255])
def test_unusual_keys_are_kept_as_they_are(store: ObjectStore, key: str) -> None:
    store.put(key, b"x")
    assert keys(store, "") == [key]
    assert content(store, key) == b"x"
    store.delete(key)
    assert keys(store, "") == []


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", ".uploads/x", "a\nb", "a\0"]
)
def test_a_bad_key_is_refused_by_every_call(store: ObjectStore, key: str, tmp_path: Path) -> None:
    hour = timedelta(hours=1)
    (tmp_path / "file").touch()
    for call in (
        lambda: store.put(key, b""),
        lambda: store.put_file(key, tmp_path / "file"),
        lambda: store.read(key),
        lambda: store.get_file(key, tmp_path / "out"),
        lambda: store.stat(key),
        lambda: store.delete(key),
        lambda: store.sign_get(key, expires=hour),
        lambda: store.sign_put(key, expires=hour),
        lambda: store.create_upload(key, part_size_bytes=MIN_PART_SIZE_BYTES),
        lambda: store.put_part(key, "0" * 32, 1, b"x"),
    ):
        with pytest.raises(InvalidKey):
            call()


def test_half_a_gibibyte_passes_in_flat_memory(store: ObjectStore, random_bytes: bytes) -> None:
    block = random_bytes[:MIB]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    put = store.put("big", (block for _ in range(512)))
    with closing(store.read("big")) as reader:
        size = sum(len(chunk) for chunk in reader)
    assert put.size_bytes == size == 512 * MIB
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 160 * 1024


def test_writers_of_one_key_leave_one_whole_object(store: ObjectStore) -> None:
    def write(number: int) -> str:
        return store.put("k", b"%d" % number * 1000).sha256

    with ThreadPoolExecutor(4) as pool:
        written = set(pool.map(write, range(20)))
    assert store.stat("k").sha256 in written
    assert sha256(content(store, "k")) == store.stat("k").sha256
