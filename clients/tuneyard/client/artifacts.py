"""Artifacts: what jobs leave behind."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

from tuneyard.client import errors, names
from tuneyard.client.connection import Connection
from tuneyard.client.downloading import download, download_archive, target_path
from tuneyard.client.pages import collect
from tuneyard.client.transfer import ProgressCallback
from tuneyard.v1 import artifact_service_pb2
from tuneyard.v1.event_pb2 import Artifact


class AsyncArtifacts:
    """The artifacts of jobs, each known by its job and its path."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def download(
        self,
        job: str,
        folder: Path | str,
        *,
        paths: Sequence[str] | None = None,
        progress: ProgressCallback | None = None,
    ) -> Sequence[Path]:
        """Fetches a job's artifacts into `folder` and returns the files.

        `paths` picks artifacts, or all below a path; ArtifactNotFound for one that picks nothing. Files
        that are there and right are left alone, half-fetched ones are taken up.
        """
        wanted = _pick(await self.list(job), paths, job=names.job(job))
        return [
            await download(
                self._connection, artifact, target_path(Path(folder), artifact.path), progress=progress
            )
            for artifact in wanted
        ]

    async def download_archive(
        self, job: str, file: Path | str, *, path: str = "", progress: ProgressCallback | None = None
    ) -> Path:
        """Fetches a ZIP of all of a job's artifacts, or of all below `path`, into `file`."""
        name = f"{names.job(job)}/artifacts"
        if path:
            name += f"/{path.rstrip('/')}/"
        return await download_archive(self._connection, name, Path(file), progress=progress)

    async def stream(self, job: str, path: str = "", *, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """Yields an artifact's bytes from `offset` on; of a path that is empty or ends in "/" a ZIP of all
        below it. Close the generator.
        """
        name = names.artifact(job, path) if path else f"{names.job(job)}/artifacts"
        request = artifact_service_pb2.DownloadArtifactRequest(name=name, offset=offset)
        call = self._connection.stream(self._connection.artifacts.DownloadArtifact, request)
        async with aclosing(call) as responses:
            async for response in responses:
                yield response.chunk

    async def get(self, job: str, path: str) -> Artifact:
        """One artifact's record. ArtifactNotFound."""
        for artifact in await self.list(job):
            if artifact.path == path:
                return artifact
        raise errors.ArtifactNotFound(
            f"{names.job(job)} has no artifact at {path!r}",
            resource=names.artifact(job, path),
            reason="ARTIFACT_NOT_FOUND",
            status="NOT_FOUND",
        )

    async def read(self, job: str, path: str) -> bytes:
        """The bytes of one small artifact."""
        async with aclosing(self.stream(job, path)) as chunks:
            return b"".join([chunk async for chunk in chunks])

    async def create_download(
        self, job: str, path: str, *, lifetime: timedelta | None = None
    ) -> artifact_service_pb2.CreateDownloadResponse:
        """A URL from which one artifact can be fetched for a while without credentials."""
        request = artifact_service_pb2.CreateDownloadRequest(name=names.artifact(job, path))
        if lifetime is not None:
            request.lifetime.FromTimedelta(lifetime)
        return await self._connection.unary(self._connection.artifacts.CreateDownload, request)

    async def list(self, job: str) -> list[Artifact]:
        """A job's artifacts by path."""

        async def fetch(size: int, token: str) -> tuple[Iterable[Artifact], str]:
            request = artifact_service_pb2.ListArtifactsRequest(
                parent=names.job(job), page_size=size, page_token=token
            )
            page = await self._connection.unary(self._connection.artifacts.ListArtifacts, request)
            return page.artifacts, page.next_page_token

        return await collect(fetch)


def _pick(artifacts: Sequence[Artifact], paths: Sequence[str] | None, *, job: str) -> Sequence[Artifact]:
    if not paths:
        return artifacts
    for path in paths:
        if not any(_matches(artifact, path) for artifact in artifacts):
            raise errors.ArtifactNotFound(f"{job} has no artifact at {path!r}", resource=job)
    return [artifact for artifact in artifacts if any(_matches(artifact, path) for path in paths)]


def _matches(artifact: Artifact, path: str) -> bool:
    return artifact.path == path or artifact.path.startswith(f"{path.rstrip('/')}/")
