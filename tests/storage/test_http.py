"""The listener of signed URLs, beyond what the contract of signed URLs says of every store."""

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import anyio
import httpx
import pytest

from tuneyard.storage import (
    MIN_PART_SIZE_BYTES,
    FolderStore,
    InvalidPart,
    ObjectNotFound,
    StorageError,
    StoreFull,
    StoreUnavailable,
    errors,
)
from tuneyard.storage.http import _STATUS, blob_app

HOUR = timedelta(hours=1)
HOST = "http://blobs"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path, public_url=HOST)


@pytest.fixture
async def client(store: FolderStore) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(blob_app(store, idle_seconds=0.2), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=HOST) as opened:
        yield opened


def reason(response: httpx.Response) -> str:
    error = response.json()["error"]
    assert set(error) == {"reason", "message"}
    assert error["message"]
    return str(error["reason"])


async def test_a_head_tells_all_but_the_bytes(store: FolderStore, client: httpx.AsyncClient) -> None:
    put = store.put("k", b"hello")
    response = await client.head(store.sign_get("k", expires=HOUR, filename="a.txt"))
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == "5"
    assert response.headers["etag"] == f'"{put.sha256}"'
    assert response.headers["x-checksum-sha256"] == put.sha256
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-disposition"] == "attachment; filename*=UTF-8''a.txt"


async def test_a_download_goes_on_only_with_the_same_object(
    store: FolderStore, client: httpx.AsyncClient
) -> None:
    store.put("k", b"first version")
    url = store.sign_get("k", expires=HOUR)
    etag = (await client.get(url)).headers["etag"]
    resume = {"range": "bytes=6-", "if-range": etag}
    assert (await client.get(url, headers=resume)).content == b"version"
    store.put("k", b"second version")
    response = await client.get(url, headers=resume)
    assert (response.status_code, response.content) == (200, b"second version")


async def test_a_put_answers_with_the_hash_and_can_be_once(
    store: FolderStore, client: httpx.AsyncClient
) -> None:
    url = store.sign_put("k", expires=HOUR)
    once = {"if-none-match": "*"}
    response = await client.put(url, content=b"x", headers=once)
    assert response.headers["etag"] == f'"{hashlib.sha256(b"x").hexdigest()}"'
    late = await client.put(url, content=b"y", headers=once)
    assert (late.status_code, reason(late)) == (412, "OBJECT_EXISTS")
    assert b"".join(store.read("k")) == b"x"


@pytest.mark.parametrize("path", ["/", "/objects", "/uploads/x", "/signing.key"])
async def test_nothing_else_is_served(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert (response.status_code, reason(response)) == (404, "NOT_FOUND")


@pytest.mark.parametrize("path", ["/objects/", "/objects/k", "/objects/%2e%2e/signing.key", "/objects/a/"])
async def test_nothing_is_served_unsigned(store: FolderStore, client: httpx.AsyncClient, path: str) -> None:
    store.put("k", b"x")
    for method in ("GET", "PUT"):
        response = await client.request(method, path)
        assert (response.status_code, reason(response)) == (403, "SIGNATURE_INVALID")


@pytest.mark.parametrize("method", ["POST", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_not_allowed(
    store: FolderStore, client: httpx.AsyncClient, method: str
) -> None:
    response = await client.request(method, store.sign_get("k", expires=HOUR))
    assert (response.status_code, reason(response)) == (405, "METHOD_NOT_ALLOWED")


async def test_a_range_beyond_the_end_says_how_long_the_object_is(
    store: FolderStore, client: httpx.AsyncClient
) -> None:
    store.put("k", b"x")
    response = await client.get(store.sign_get("k", expires=HOUR), headers={"range": "bytes=1-"})
    assert (response.status_code, reason(response)) == (416, "RANGE_NOT_SATISFIABLE")
    assert response.headers["content-range"] == "bytes */1"


async def test_a_part_too_long_is_refused(store: FolderStore, client: httpx.AsyncClient) -> None:
    upload = store.create_upload("k", part_size_bytes=MIN_PART_SIZE_BYTES)
    url = store.sign_part("k", upload, 1, expires=HOUR)
    response = await client.put(url, content=bytes(MIN_PART_SIZE_BYTES + 1))
    assert (response.status_code, reason(response)) == (400, InvalidPart.reason)
    assert store.list_parts("k", upload) == []


async def test_a_client_that_stalls_is_let_go(store: FolderStore, client: httpx.AsyncClient) -> None:
    upload = store.create_upload("k", part_size_bytes=MIN_PART_SIZE_BYTES)

    async def stalling() -> AsyncIterator[bytes]:
        yield b"half"
        await anyio.sleep_forever()

    response = await client.put(store.sign_part("k", upload, 1, expires=HOUR), content=stalling())
    assert (response.status_code, reason(response)) == (408, "REQUEST_TIMEOUT")
    assert store.put_part("k", upload, 1, b"again").number == 1


@pytest.mark.parametrize(("error", "status"), [(StoreFull("full"), 507), (StoreUnavailable("gone"), 503)])
async def test_a_failing_store_is_reported(
    store: FolderStore,
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    error: StorageError,
    status: int,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(store, "put", fail)
    response = await client.put(store.sign_put("k", expires=HOUR), content=b"x")
    assert (response.status_code, reason(response)) == (status, error.reason)
    with pytest.raises(ObjectNotFound):
        store.stat("k")


def test_every_error_has_a_status() -> None:
    assert set(_STATUS) == {cls for cls in vars(errors).values() if _is_leaf(cls)}


def _is_leaf(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, StorageError) and value is not StorageError
