"""What the MinIO store does beyond the contract, on a real server: metadata, lost answers, cut calls."""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.support.servers import S3Server
from tuneyard.storage import (
    MIN_PART_SIZE_BYTES,
    ObjectExists,
    StoreSettings,
    StoreUnavailable,
    UploadPart,
)
from tuneyard.storage.minio_store import MinioStore
from tuneyard.storage.minio_uploads import MinioUploads
from tuneyard.storage.s3_bucket import S3Bucket

pytestmark = pytest.mark.integration

PART = MIN_PART_SIZE_BYTES
BIG = bytes(17 * 1024 * 1024)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class TwiceBucket(S3Bucket):
    """Sends each write that makes an object twice, as happens when the first answer is lost."""

    def put(
        self, name: str, data: bytes | bytearray | memoryview, *, metadata: dict[str, str], if_absent: bool
    ) -> datetime:
        super().put(name, data, metadata=metadata, if_absent=if_absent)
        return super().put(name, data, metadata=metadata, if_absent=if_absent)

    def complete_upload(
        self, name: str, upload_id: str, parts: Sequence[UploadPart], *, if_absent: bool = False
    ) -> datetime:
        super().complete_upload(name, upload_id, parts, if_absent=if_absent)
        return super().complete_upload(name, upload_id, parts, if_absent=if_absent)


@pytest.fixture
def settings(s3: S3Server) -> StoreSettings:
    return StoreSettings(
        s3_endpoint=s3.endpoint, s3_access_key=s3.access_key, s3_secret_key=s3.secret_key, s3_secure=s3.secure
    )


@pytest.fixture
def reopen(s3: S3Server, settings: StoreSettings) -> Callable[[], MinioStore]:
    return lambda: MinioStore(S3Bucket(s3.bucket, settings=settings))


def names(s3: S3Server) -> list[str]:
    return [str(found.object_name) for found in s3.client().list_objects(s3.bucket, recursive=True)]


@pytest.mark.parametrize("data", [b"x", BIG])
def test_other_tools_find_the_hash_in_the_metadata(
    s3: S3Server, reopen: Callable[[], MinioStore], data: bytes
) -> None:
    reopen().put("k", iter([data]))
    metadata = s3.client().stat_object(s3.bucket, "k").metadata
    assert metadata is not None
    assert metadata["x-amz-meta-sha256"] == sha256(data)
    assert names(s3) == ["k"]


def test_objects_of_other_tools_have_no_hash(s3: S3Server, reopen: Callable[[], MinioStore]) -> None:
    s3.client().put_object(s3.bucket, "foreign", io.BytesIO(b"x"), 1)
    assert reopen().stat("foreign").sha256 == ""
    assert [info.sha256 for info in reopen().list("")] == [""]


@pytest.mark.parametrize("if_absent", [True, False])
@pytest.mark.parametrize("data", [b"x", BIG])
@pytest.mark.parametrize("promised", [True, False])
def test_a_write_whose_answer_was_lost_is_known_to_be_ours(
    s3: S3Server, settings: StoreSettings, data: bytes, if_absent: bool, promised: bool
) -> None:
    store = MinioStore(TwiceBucket(s3.bucket, settings=settings))
    store.put("k", iter([data]), if_absent=if_absent, sha256=sha256(data) if promised else None)
    assert store.stat("k").sha256 == sha256(data)
    assert names(s3) == ["k"]
    with pytest.raises(ObjectExists):
        store.put("k", data, if_absent=True)


def test_an_upload_completes_when_the_answers_are_lost(s3: S3Server, settings: StoreSettings) -> None:
    store = MinioStore(TwiceBucket(s3.bucket, settings=settings))
    upload = store.create_upload("k", part_size_bytes=PART)
    part = store.put_part("k", upload, 1, b"x")
    assert store.complete_upload("k", upload, [part]).sha256 == sha256(b"x")
    assert names(s3) == ["k"]


def test_completing_goes_on_where_it_was_cut_short(
    s3: S3Server, reopen: Callable[[], MinioStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = reopen()
    upload = store.create_upload("k", part_size_bytes=PART)
    parts = [store.put_part("k", upload, 1, b"x" * PART), store.put_part("k", upload, 2, b"y")]

    def fail(*_: object, **__: object) -> None:
        raise StoreUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(MinioUploads, "_publish", fail)
        with pytest.raises(StoreUnavailable):
            store.complete_upload("k", upload, parts)
    assert list(store.list("")) == []
    made = reopen().complete_upload("k", upload, parts)
    assert made.sha256 == sha256(b"x" * PART + b"y")
    assert b"".join(reopen().read("k", offset=PART)) == b"y"
    assert names(s3) == ["k"]


def test_a_long_object_is_copied_in_parts(
    reopen: Callable[[], MinioStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuneyard.storage.minio_uploads._COPY_BYTES", 6 * 1024 * 1024)
    data = b"".join(b"%d" % number for number in range(3_000_000))
    put = reopen().put("k", iter([data]))
    assert b"".join(reopen().read("k")) == data
    assert put.sha256 == sha256(data)


def test_a_sweep_takes_staged_objects_that_were_left(s3: S3Server, reopen: Callable[[], MinioStore]) -> None:
    s3.client().put_object(s3.bucket, ".uploads/left", io.BytesIO(b"x"), 1)
    reopen().put("k", b"x")
    assert reopen().sweep(older_than=timedelta(hours=1)) == 0
    assert reopen().sweep(older_than=timedelta(seconds=-5)) == 1
    assert names(s3) == ["k"]


def test_urls_are_signed_for_the_public_address(s3: S3Server, settings: StoreSettings) -> None:
    outside = replace(settings, s3_public_endpoint="store.example:9000")
    store = MinioStore(S3Bucket(s3.bucket, settings=outside))
    url = store.sign_get("k", expires=timedelta(hours=1))
    assert url.partition("//")[2].startswith(f"store.example:9000/{s3.bucket}/k?")
