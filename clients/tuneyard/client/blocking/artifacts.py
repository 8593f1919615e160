"""The blocking calls about artifacts: each runs its namesake of the asyncio client to the end."""

from collections.abc import Generator, Sequence
from datetime import timedelta
from pathlib import Path

from tuneyard.client.artifacts import AsyncArtifacts
from tuneyard.client.portal import Portal
from tuneyard.client.transfer import ProgressCallback
from tuneyard.v1 import artifact_service_pb2, event_pb2


class Artifacts:
    """The artifacts of jobs. See `AsyncArtifacts`."""

    def __init__(self, artifacts: AsyncArtifacts, portal: Portal) -> None:
        self._artifacts = artifacts
        self._portal = portal

    def download(
        self,
        job: str,
        folder: Path | str,
        *,
        paths: Sequence[str] | None = None,
        progress: ProgressCallback | None = None,
    ) -> Sequence[Path]:
        """Fetches a job's artifacts, or those picked by `paths`, into `folder`; returns the files."""
        return self._portal.run(self._artifacts.download(job, folder, paths=paths, progress=progress))

    def download_archive(
        self, job: str, file: Path | str, *, path: str = "", progress: ProgressCallback | None = None
    ) -> Path:
        """Fetches a ZIP of all of a job's artifacts, or of all below `path`, into `file`."""
        return self._portal.run(self._artifacts.download_archive(job, file, path=path, progress=progress))

    def stream(self, job: str, path: str = "", *, offset: int = 0) -> Generator[bytes, None, None]:
        """Yields an artifact's bytes from `offset` on, or a ZIP of all below a path that ends in "/"."""
        yield from self._portal.iterate(self._artifacts.stream(job, path, offset=offset))

    def get(self, job: str, path: str) -> event_pb2.Artifact:
        """One artifact's record. ArtifactNotFound."""
        return self._portal.run(self._artifacts.get(job, path))

    def read(self, job: str, path: str) -> bytes:
        """The bytes of one small artifact."""
        return self._portal.run(self._artifacts.read(job, path))

    def create_download(
        self, job: str, path: str, *, lifetime: timedelta | None = None
    ) -> artifact_service_pb2.CreateDownloadResponse:
        """A URL from which one artifact can be fetched for a while without credentials."""
        return self._portal.run(self._artifacts.create_download(job, path, lifetime=lifetime))

    def list(self, job: str) -> list[event_pb2.Artifact]:
        """A job's artifacts by path."""
        return self._portal.run(self._artifacts.list(job))
