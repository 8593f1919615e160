"""Signed URLs of every store, used by a client that has nothing but the URL, against a real server."""

import hashlib
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import timedelta

import pytest

from tuneyard.storage import MIN_PART_SIZE_BYTES, ObjectNotFound, ObjectStore

HOUR = timedelta(hours=1)


def fetch(
    method: str, url: str, *, data: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers (names in lower case) of one request."""
    request = urllib.request.Request(url, method=method, data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            names = {name.lower(): value for name, value in response.headers.items()}
            return response.status, response.read(), names
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), {name.lower(): value for name, value in error.headers.items()}


def test_a_signed_get_reads_the_object(store: ObjectStore, random_bytes: bytes) -> None:
    store.put("a b/ü.bin", random_bytes)
    status, body, headers = fetch("GET", store.sign_get("a b/ü.bin", expires=HOUR))
    assert (status, body) == (200, random_bytes)
    assert headers["content-length"] == str(len(random_bytes))


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=5-9", 5, 10), ("bytes=100-", 100, 1000), ("bytes=-7", 993, 1000)],
)
def test_a_signed_get_serves_ranges(
    store: ObjectStore, random_bytes: bytes, asked: str, start: int, end: int
) -> None:
    store.put("k", random_bytes[:1000])
    url = store.sign_get("k", expires=HOUR)
    status, body, headers = fetch("GET", url, headers={"Range": asked})
    assert (status, body) == (206, random_bytes[start:end])
    assert headers["content-range"] == f"bytes {start}-{end - 1}/1000"


def test_a_range_beyond_the_end_is_not_satisfiable(store: ObjectStore) -> None:
    store.put("k", b"short")
    assert fetch("GET", store.sign_get("k", expires=HOUR), headers={"Range": "bytes=5-"})[0] == 416


def test_an_empty_object_is_served(store: ObjectStore) -> None:
    store.put("k", b"")
    assert fetch("GET", store.sign_get("k", expires=HOUR))[:2] == (200, b"")


def test_a_filename_is_what_browsers_save(store: ObjectStore) -> None:
    store.put("k", b"x")
    _, _, headers = fetch("GET", store.sign_get("k", expires=HOUR, filename="my ü & model.zip"))
    assert headers["content-disposition"] == "attachment; filename*=UTF-8''my%20%C3%BC%20%26%20model.zip"


def test_a_signed_put_stores_an_object(store: ObjectStore, random_bytes: bytes) -> None:
    url = store.sign_put("new/ü", expires=HOUR)
    assert fetch("PUT", url, data=random_bytes)[0] == 200
    assert b"".join(store.read("new/ü")) == random_bytes
    assert store.stat("new/ü").size_bytes == len(random_bytes)


def test_signed_parts_become_an_object_with_a_true_hash(store: ObjectStore, random_bytes: bytes) -> None:
    upload = store.create_upload("k", part_size_bytes=MIN_PART_SIZE_BYTES)
    for number in range(1, 5):
        piece = random_bytes[(number - 1) * MIN_PART_SIZE_BYTES : number * MIN_PART_SIZE_BYTES]
        url = store.sign_part("k", upload, number, expires=HOUR)
        status, _, headers = fetch("PUT", url, data=piece)
        assert status == 200
        assert headers["etag"].strip('"') == store.list_parts("k", upload)[-1].etag
    made = store.complete_upload("k", upload, store.list_parts("k", upload))
    assert made.sha256 == hashlib.sha256(random_bytes).hexdigest()
    assert b"".join(store.read("k")) == random_bytes


def test_an_expired_url_is_refused(store: ObjectStore, sign_earlier: Callable[[timedelta], None]) -> None:
    store.put("k", b"x")
    sign_earlier(HOUR)
    assert fetch("GET", store.sign_get("k", expires=HOUR + timedelta(minutes=1)))[0] == 200
    assert fetch("GET", store.sign_get("k", expires=HOUR - timedelta(minutes=1)))[0] == 403
    assert fetch("PUT", store.sign_put("k", expires=HOUR - timedelta(minutes=1)), data=b"y")[0] == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
def test_a_url_to_read_does_nothing_else(store: ObjectStore, method: str) -> None:
    store.put("k", b"x")
    status, _, _ = fetch(method, store.sign_get("k", expires=HOUR), data=b"y")
    assert status in (400, 403, 405)
    assert b"".join(store.read("k")) == b"x"


def test_a_url_to_write_does_not_read(store: ObjectStore) -> None:
    store.put("k", b"x")
    assert fetch("GET", store.sign_put("k", expires=HOUR))[0] == 403


def test_a_url_is_good_for_its_key_alone(store: ObjectStore) -> None:
    for key in ("mine", "other"):
        store.put(key, b"x")
    url = store.sign_get("mine", expires=HOUR)
    assert fetch("GET", url.replace("/mine?", "/other?"))[0] == 403
    assert fetch("GET", url.replace("/mine?", "/mine/../other?"))[0] in (400, 403)


def test_a_url_is_good_for_its_part_alone(store: ObjectStore) -> None:
    upload = store.create_upload("k", part_size_bytes=MIN_PART_SIZE_BYTES)
    url = store.sign_part("k", upload, 1, expires=HOUR)
    changed = re.sub(r"(part(?:Number)?)=1\b", r"\1=2", url)
    assert changed != url
    assert fetch("PUT", changed, data=b"x")[0] == 403
    assert store.list_parts("k", upload) == []


def test_a_url_with_anything_changed_is_refused(store: ObjectStore) -> None:
    store.put("k", b"x")
    url = store.sign_get("k", expires=HOUR)
    later = re.sub(r"(xpires)=(\d+)", lambda found: f"{found[1]}={int(found[2]) + 1}", url)
    other = url[:-1] + ("0" if url[-1] != "0" else "1")
    for changed in (later, other, url.partition("?")[0], url + "&more=1"):
        assert changed != url
        assert fetch("GET", changed)[0] == 403


def test_a_signed_get_of_a_missing_object_is_404(store: ObjectStore) -> None:
    assert fetch("GET", store.sign_get("none", expires=HOUR))[0] == 404


@pytest.mark.parametrize("expires", [timedelta(0), timedelta(seconds=-1), timedelta(days=7, seconds=1)])
def test_a_url_lives_between_a_second_and_a_week(store: ObjectStore, expires: timedelta) -> None:
    upload = store.create_upload("k", part_size_bytes=MIN_PART_SIZE_BYTES)
    with pytest.raises(ValueError, match="7 days"):
        store.sign_get("k", expires=expires)
    with pytest.raises(ValueError, match="7 days"):
        store.sign_put("k", expires=expires)
    with pytest.raises(ValueError, match="7 days"):
        store.sign_part("k", upload, 1, expires=expires)


def test_a_put_that_breaks_off_stores_nothing(store: ObjectStore, break_off: Callable[[str], None]) -> None:
    break_off(store.sign_put("k", expires=HOUR))
    with pytest.raises(ObjectNotFound):
        store.stat("k")
