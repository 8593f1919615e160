"""Hands out what jobs leave behind: lists, files from any offset, ZIPs made on the way, signed URLs."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tuneyard.gateway import paging
from tuneyard.gateway.byte_streams import ByteSource, gathered, in_thread
from tuneyard.gateway.clock import utc_now
from tuneyard.gateway.jobs import JobRepository
from tuneyard.gateway.sources import zipped
from tuneyard.gateway.store_calls import in_store
from tuneyard.rpc import names
from tuneyard.rpc.errors import TuneyardError, invalid
from tuneyard.storage import ObjectStore
from tuneyard.v1 import artifact_service_pb2, event_pb2

DEFAULT_PAGE_SIZE: Final = 1000
DEFAULT_LIFETIME: Final = timedelta(hours=1)
MAX_LIFETIME: Final = timedelta(days=7)


@dataclass(frozen=True)
class SignedDownload:
    """Where one artifact can be fetched for a while."""

    url: str
    expires: datetime


class ArtifactLibrary:
    """Artifacts of jobs, by their records."""

    def __init__(
        self, *, jobs: JobRepository, store: ObjectStore, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._jobs = jobs
        self._store = store
        self._clock = clock

    async def list(
        self, parent: str, *, page_size: int, page_token: str
    ) -> tuple[Sequence[event_pb2.Artifact], str]:
        """A page of a job's artifacts by path, and the next token. JOB_NOT_FOUND, INVALID_PAGE_TOKEN."""
        names.job_id(parent, field="parent")
        digest = paging.filter_digest("artifacts", parent)
        place = paging.decode_token(page_token, digest)
        found = await self._jobs.artifacts(parent)
        later = [artifact for artifact in found if place is None or artifact.path > place.id]
        size = page_size or DEFAULT_PAGE_SIZE
        page = later[:size]
        has_more = len(later) > size
        return page, paging.encode_token(paging.Place(0, page[-1].path), digest) if has_more else ""

    async def download(
        self, name: str, *, offset: int
    ) -> AsyncIterator[artifact_service_pb2.DownloadArtifactResponse]:
        """The header and the chunks of an artifact, or of a ZIP of all below a path that ends with "/".

        JOB_NOT_FOUND, ARTIFACT_NOT_FOUND; INVALID_FIELD for an offset beyond the end, or into a ZIP.
        """
        job_id, path = names.artifact_path(name)
        if not path or path.endswith("/"):
            header, source = await self._zip(job_id, path, offset=offset)
        else:
            header, source = await self._single(job_id, path, offset=offset)
        yield artifact_service_pb2.DownloadArtifactResponse(header=header)
        async for chunk in in_thread(source):
            yield artifact_service_pb2.DownloadArtifactResponse(chunk=chunk)

    async def sign(self, name: str, lifetime: timedelta | None) -> SignedDownload:
        """A URL for one artifact. JOB_NOT_FOUND, ARTIFACT_NOT_FOUND, INVALID_FIELD."""
        job_id, path = names.artifact_path(name)
        if not path or path.endswith("/"):
            raise invalid("name", "a URL is for a single artifact; a folder comes by DownloadArtifact")
        lifetime = DEFAULT_LIFETIME if lifetime is None else lifetime
        if not timedelta(seconds=1) <= lifetime <= MAX_LIFETIME:
            raise invalid("lifetime", "must be 1 second to 7 days")
        artifact, file = await self._jobs.artifact(names.job_name(job_id), path)
        expires = self._clock() + lifetime
        url = await in_store(
            lambda: self._store.sign_get(file.key, expires=lifetime, filename=_file_name(artifact.path))
        )
        return SignedDownload(url, expires)

    async def _single(
        self, job_id: str, path: str, *, offset: int
    ) -> tuple[artifact_service_pb2.DownloadHeader, ByteSource]:
        artifact, file = await self._jobs.artifact(names.job_name(job_id), path)
        if offset > file.size_bytes:
            raise invalid("offset", f"the artifact has {file.size_bytes} bytes")
        reader = await in_store(lambda: self._store.read(file.key, offset=offset))
        header = artifact_service_pb2.DownloadHeader(
            artifact=artifact, size_bytes=file.size_bytes - offset, file_name=_file_name(path)
        )
        return header, reader

    async def _zip(
        self, job_id: str, folder: str, *, offset: int
    ) -> tuple[artifact_service_pb2.DownloadHeader, ByteSource]:
        if offset:
            raise invalid("offset", "a ZIP is made on the way and cannot be resumed; start at 0")
        stored = await self._jobs.stored_artifacts(names.job_name(job_id))
        files = [file for file in stored if file.path.startswith(folder)]
        if folder and not files:
            raise TuneyardError(
                "ARTIFACT_NOT_FOUND",
                f"jobs/{job_id} has no artifacts below {folder!r}",
                resource=names.artifact_name(job_id, folder),
            )
        header = artifact_service_pb2.DownloadHeader(
            artifact=event_pb2.Artifact(path=folder, media_type="application/zip"),
            file_name=f"{_file_name(folder.rstrip('/')) or job_id}.zip",
        )
        members = ((file.path.removeprefix(folder), file.size_bytes, self._read(file.key)) for file in files)
        return header, gathered(zipped(members))

    def _read(self, key: str) -> Iterator[bytes]:
        with self._store.read(key) as reader:
            yield from reader


def _file_name(path: str) -> str:
    return path.rpartition("/")[2]
