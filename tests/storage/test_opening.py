import socket
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.servers import S3Server
from tuneyard.storage import FolderStore, InvalidKey, StoreSettings, StoreUnavailable, open_store

SETTINGS = StoreSettings(
    s3_endpoint="localhost:1", s3_access_key="access-secret", s3_secret_key="secret-secret", s3_secure=False
)


@pytest.mark.parametrize("form", ["{}", "file://{}", "file://localhost{}"])
def test_a_folder_is_named_by_path_or_url(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "a b"
    store = open_store(
        form.format(folder).replace(" ", "%20" if "file" in form else " "), settings=StoreSettings()
    )
    assert isinstance(store, FolderStore)
    store.put("k", b"x")
    assert (folder / "objects/k").exists()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://host/x",
        "file://host/x",
        "file:",
        "s3://",
        "s3:///x",
        "s3://bucket?endpoint=x",
        "s3://B_/x",
        "s3://bucket/x",
    ],
)
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="store is"):
        open_store(url, settings=StoreSettings())


def test_settings_show_no_credentials() -> None:
    shown = repr(SETTINGS)
    assert "access-secret" not in shown
    assert "secret-secret" not in shown


def test_an_s3_prefix_is_a_key(tmp_path: Path) -> None:
    with pytest.raises(InvalidKey):
        open_store("s3://bucket/../x", settings=SETTINGS)


def test_a_server_that_does_not_answer_is_unavailable() -> None:
    with socket.socket() as bound:
        # Bound and not listening: nobody else can answer there.
        bound.bind(("127.0.0.1", 0))
        settings = replace(SETTINGS, s3_endpoint=f"127.0.0.1:{bound.getsockname()[1]}", s3_retries=1)
        with pytest.raises(StoreUnavailable) as caught:
            open_store("s3://bucket", settings=settings)
    assert "secret" not in caught.value.message


@pytest.mark.integration
def test_a_bucket_is_created_once(s3: S3Server) -> None:
    settings = StoreSettings(
        s3_endpoint=s3.endpoint, s3_access_key=s3.access_key, s3_secret_key=s3.secret_key, s3_secure=s3.secure
    )
    name = f"{s3.bucket}-new"
    try:
        for _ in range(2):
            store = open_store(f"s3://{name}/p", settings=settings)
        store.put("k", b"x")
        assert s3.secret_key not in repr(store)
        store.delete("k")
    finally:
        s3.client().remove_bucket(name)


@pytest.mark.integration
def test_wrong_credentials_are_said_to_be_refused(s3: S3Server) -> None:
    settings = StoreSettings(
        s3_endpoint=s3.endpoint,
        s3_access_key=s3.access_key,
        s3_secret_key="wrong-secret",
        s3_secure=s3.secure,
    )
    with pytest.raises(StoreUnavailable, match="credentials") as caught:
        open_store(f"s3://{s3.bucket}", settings=settings)
    assert "wrong-secret" not in caught.value.message
