"""What every store does with durable uploads."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tuneyard.storage import (
    MIN_PART_SIZE_BYTES,
    ChecksumMismatch,
    InvalidPart,
    ObjectNotFound,
    ObjectStore,
    UploadNotFound,
    UploadPart,
)

PART = MIN_PART_SIZE_BYTES


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def cut(data: bytes) -> list[bytes]:
    return [data[start : start + PART] for start in range(0, len(data), PART)]


def send(store: ObjectStore, upload: str, data: bytes) -> list[UploadPart]:
    return [store.put_part("k", upload, number, part) for number, part in enumerate(cut(data), start=1)]


@pytest.fixture
def upload(store: ObjectStore) -> str:
    return store.create_upload("k", part_size_bytes=PART)


@pytest.mark.parametrize("size", [1, PART - 1, PART, PART + 1, 2 * PART, 17 * 1024 * 1024])
def test_parts_become_an_object(store: ObjectStore, upload: str, random_bytes: bytes, size: int) -> None:
    data = random_bytes[:size]
    parts = send(store, upload, data)
    assert store.list_parts("k", upload) == parts
    assert list(store.list("")) == []
    made = store.complete_upload("k", upload, parts, sha256=sha256(data))
    assert (made.size_bytes, made.sha256) == (size, sha256(data))
    assert b"".join(store.read("k")) == data
    assert store.stat("k").sha256 == made.sha256
    assert [info.key for info in store.list("")] == ["k"]


def test_a_view_of_a_buffer_is_a_part(store: ObjectStore, upload: str, random_bytes: bytes) -> None:
    part = store.put_part("k", upload, 1, memoryview(random_bytes)[3:1003])
    store.complete_upload("k", upload, [part])
    assert b"".join(store.read("k")) == random_bytes[3:1003]


def test_parts_may_come_in_any_order_and_at_once(
    store: ObjectStore, upload: str, random_bytes: bytes
) -> None:
    numbered = list(enumerate(cut(random_bytes), start=1))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda part: store.put_part("k", upload, *part), reversed(numbered)))
    parts = store.list_parts("k", upload)
    assert [part.number for part in parts] == [1, 2, 3, 4]
    assert store.complete_upload("k", upload, parts).sha256 == sha256(random_bytes)


def test_an_upload_goes_on_after_a_restart(reopen: Callable[[], ObjectStore], random_bytes: bytes) -> None:
    pieces = cut(random_bytes)
    upload = reopen().create_upload("k", part_size_bytes=PART)
    for number, piece in enumerate(pieces[:2], start=1):
        reopen().put_part("k", upload, number, piece)
    later = reopen()
    assert [(part.number, part.size_bytes) for part in later.list_parts("k", upload)] == [
        (1, PART),
        (2, PART),
    ]
    for number, piece in enumerate(pieces[2:], start=3):
        later.put_part("k", upload, number, piece)
    last = reopen()
    made = last.complete_upload("k", upload, last.list_parts("k", upload))
    assert made.sha256 == sha256(random_bytes)
    assert b"".join(last.read("k")) == random_bytes


@pytest.mark.parametrize("replaced", [1, 2, 4])
def test_a_part_put_again_replaces_the_first(
    store: ObjectStore, upload: str, random_bytes: bytes, replaced: int
) -> None:
    first = send(store, upload, random_bytes)
    pieces = cut(random_bytes)
    pieces[replaced - 1] = pieces[replaced - 1][::-1]
    again = store.put_part("k", upload, replaced, pieces[replaced - 1])
    assert again.etag != first[replaced - 1].etag
    parts = store.list_parts("k", upload)
    assert parts[replaced - 1] == again
    assert store.complete_upload("k", upload, parts).sha256 == sha256(b"".join(pieces))
    assert b"".join(store.read("k")) == b"".join(pieces)


def test_a_part_replaced_by_another_process_is_hashed_anew(
    reopen: Callable[[], ObjectStore], random_bytes: bytes
) -> None:
    one, other = reopen(), reopen()
    upload = one.create_upload("k", part_size_bytes=PART)
    send(one, upload, random_bytes)
    pieces = [b"y" * PART, *cut(random_bytes)[1:]]
    other.put_part("k", upload, 1, pieces[0])
    assert one.complete_upload("k", upload, one.list_parts("k", upload)).sha256 == sha256(b"".join(pieces))


def test_a_shorter_last_part_replaces_a_longer_one(store: ObjectStore, upload: str) -> None:
    store.put_part("k", upload, 1, b"x" * PART)
    store.put_part("k", upload, 2, b"x" * PART)
    store.put_part("k", upload, 2, b"y" * 10)
    made = store.complete_upload("k", upload, store.list_parts("k", upload))
    assert (made.size_bytes, made.sha256) == (PART + 10, sha256(b"x" * PART + b"y" * 10))
    assert b"".join(store.read("k", offset=PART)) == b"y" * 10


def test_completing_with_a_wrong_hash_leaves_nothing(store: ObjectStore, upload: str) -> None:
    store.put("k", b"before")
    part = store.put_part("k", upload, 1, b"x")
    with pytest.raises(ChecksumMismatch):
        store.complete_upload("k", upload, [part], sha256=sha256(b"y"))
    assert b"".join(store.read("k")) == b"before"
    with pytest.raises(UploadNotFound):
        store.list_parts("k", upload)


def test_parts_that_do_not_fit_are_refused_and_the_upload_stays(
    store: ObjectStore, upload: str, random_bytes: bytes
) -> None:
    one, two = send(store, upload, random_bytes[: PART + 5])
    wrong = [
        [],
        [two],
        [two, one],
        [one, one],
        [one, UploadPart(2, 5, "another")],
        [one, UploadPart(2, 6, two.etag)],
        [one, two, UploadPart(3, 5, two.etag)],
    ]
    for parts in wrong:
        with pytest.raises(InvalidPart):
            store.complete_upload("k", upload, parts)
    assert store.complete_upload("k", upload, [one, two]).size_bytes == PART + 5


def test_only_the_last_part_may_be_short(store: ObjectStore, upload: str) -> None:
    parts = [store.put_part("k", upload, number, b"short") for number in (1, 2)]
    with pytest.raises(InvalidPart, match="part 1"):
        store.complete_upload("k", upload, parts)


@pytest.mark.parametrize(("number", "size"), [(0, 1), (-1, 1), (10_001, 1), (1, 0), (1, PART + 1)])
def test_a_part_out_of_bounds_is_refused(store: ObjectStore, upload: str, number: int, size: int) -> None:
    with pytest.raises(InvalidPart):
        store.put_part("k", upload, number, bytes(size))
    assert store.list_parts("k", upload) == []


@pytest.mark.parametrize("size", [0, PART - 1, 5 * 1024**3 + 1])
def test_a_part_size_out_of_bounds_is_refused(store: ObjectStore, size: int) -> None:
    with pytest.raises(InvalidPart):
        store.create_upload("k", part_size_bytes=size)


def test_an_upload_belongs_to_its_key(store: ObjectStore, upload: str) -> None:
    part = store.put_part("k", upload, 1, b"x")
    for call in (
        lambda: store.put_part("other", upload, 1, b"x"),
        lambda: store.list_parts("other", upload),
        lambda: store.complete_upload("other", upload, [part]),
    ):
        with pytest.raises(UploadNotFound):
            call()
    store.abort_upload("other", upload)
    assert store.list_parts("k", upload) == [part]


@pytest.mark.parametrize("unknown", ["", "../..", "0" * 32, "0" * 32 + ".5242880.abc", "ünknown"])
def test_an_unknown_upload_is_not_found(store: ObjectStore, unknown: str) -> None:
    part = UploadPart(1, 1, "x")
    for call in (
        lambda: store.put_part("k", unknown, 1, b"x"),
        lambda: store.list_parts("k", unknown),
        lambda: store.complete_upload("k", unknown, [part]),
    ):
        with pytest.raises(UploadNotFound):
            call()
    store.abort_upload("k", unknown)


def test_an_aborted_upload_is_gone(store: ObjectStore, upload: str) -> None:
    part = store.put_part("k", upload, 1, b"x")
    store.abort_upload("k", upload)
    store.abort_upload("k", upload)
    with pytest.raises(UploadNotFound):
        store.complete_upload("k", upload, [part])
    with pytest.raises(UploadNotFound):
        store.put_part("k", upload, 1, b"x")
    with pytest.raises(ObjectNotFound):
        store.stat("k")


def test_completing_twice_with_the_hash_returns_the_object(store: ObjectStore, upload: str) -> None:
    part = store.put_part("k", upload, 1, b"x")
    first = store.complete_upload("k", upload, [part], sha256=sha256(b"x"))
    again = store.complete_upload("k", upload, [part], sha256=sha256(b"x"))
    assert (again.key, again.size_bytes, again.sha256) == (first.key, first.size_bytes, first.sha256)
    for promised in (None, sha256(b"y")):
        with pytest.raises(UploadNotFound):
            store.complete_upload("k", upload, [part], sha256=promised)


def test_an_upload_replaces_the_object_of_its_key_only_when_complete(store: ObjectStore, upload: str) -> None:
    store.put("k", b"before")
    part = store.put_part("k", upload, 1, b"after")
    assert b"".join(store.read("k")) == b"before"
    store.complete_upload("k", upload, [part])
    assert b"".join(store.read("k")) == b"after"
