"""From a store's URL and settings to the store. Settings are passed in: this module reads no environment."""

import re
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tuneyard.storage.folder import FolderStore
from tuneyard.storage.store import ObjectStore

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True, kw_only=True)
class StoreSettings:
    """What a store needs beside its URL. The credentials never show in a repr."""

    public_url: str = "http://127.0.0.1:50052"
    """Folder store: where clients reach the listener that serves signed URLs."""
    s3_endpoint: str = ""
    """Host and port of the S3 server, without a scheme."""
    s3_access_key: str = field(default="", repr=False)
    s3_secret_key: str = field(default="", repr=False)
    s3_region: str = "us-east-1"
    s3_secure: bool = True
    """Speak TLS to the server."""
    s3_public_endpoint: str = ""
    """Host and port that signed URLs name, where clients reach the server by another address than we do."""
    s3_connections: int = 32
    """Connections kept open: as many as threads that use the store at once."""
    s3_connect_timeout: timedelta = timedelta(seconds=5)
    s3_read_timeout: timedelta = timedelta(seconds=60)
    """The longest silence of the server within one request; copying a part on its side is silent."""
    s3_retries: int = 4
    """How often a request is sent again after a failed connection or a 5xx answer."""


def open_store(url: str, *, settings: StoreSettings) -> ObjectStore:
    """Open the store that a URL names: "s3://bucket/prefix", "file:///folder" or a plain path.

    An S3 bucket is created if it is absent. Raises ValueError for any other URL, StoreUnavailable where
    the store does not answer.
    """
    parts = urlsplit(url)
    if parts.scheme == "s3":
        # The SDK takes a while to import, and a folder needs none of it.
        from tuneyard.storage.minio_store import MinioStore

        if not _BUCKET.fullmatch(parts.netloc) or parts.query or parts.fragment:
            raise ValueError("an S3 store is written s3://bucket or s3://bucket/prefix")
        if not settings.s3_endpoint:
            raise ValueError("an S3 store is reached at an endpoint, and none is set")
        return MinioStore.open(parts.netloc, prefix=parts.path.strip("/"), settings=settings)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise ValueError("a folder store is written file:///folder")
        return FolderStore(Path(unquote(parts.path)), public_url=settings.public_url)
    if "://" in url or not url:
        raise ValueError("a store is s3://bucket/prefix, file:///folder or a path")
    return FolderStore(Path(url).expanduser(), public_url=settings.public_url)
