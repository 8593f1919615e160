"""Which S3 server the tests use: one named by the environment, else MinIO, else Ceph's."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.support.servers import ceph, minio
from tests.support.servers.process import ServerUnavailable


def _from_environment() -> dict[str, str] | None:
    url = os.environ.get("TUNEYARD_TEST_S3_URL")
    if not url:
        return None
    try:
        keys = {
            "access_key": os.environ["TUNEYARD_TEST_S3_ACCESS_KEY"],
            "secret_key": os.environ["TUNEYARD_TEST_S3_SECRET_KEY"],
        }
    except KeyError as error:
        raise ServerUnavailable(f"TUNEYARD_TEST_S3_URL is set, and {error} is not") from None
    parts = urlsplit(url)
    return {
        "endpoint": parts.netloc,
        "secure": str(parts.scheme == "https").lower(),
        "server": "other",
        **keys,
    }


def prepare() -> str:
    if _from_environment():
        return "the S3 server of TUNEYARD_TEST_S3_URL"
    try:
        return minio.prepare()
    except ServerUnavailable as reason:
        try:
            return f"{ceph.prepare()}, because {reason}"
        except ServerUnavailable as other:
            raise ServerUnavailable(f"{reason}; {other}; or name one in TUNEYARD_TEST_S3_URL") from None


@contextmanager
def serve() -> Iterator[dict[str, str]]:
    named = _from_environment()
    if named:
        yield named
    elif minio.binary().exists():
        with minio.serve() as description:
            yield description
    elif ceph.is_installed():
        with ceph.serve() as description:
            yield description
    else:
        raise ServerUnavailable("no S3 server is here; `make servers` builds MinIO or installs Ceph's")
