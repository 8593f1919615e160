"""Datasets: bringing them to the server and waiting until they are checked."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import ExitStack, aclosing, suppress
from datetime import timedelta
from pathlib import Path

from tuneyard.client import errors, names
from tuneyard.client.connection import Connection
from tuneyard.client.packing import as_file
from tuneyard.client.pages import collect
from tuneyard.client.transfer import ProgressCallback, sha256_of
from tuneyard.client.uploading import upload
from tuneyard.client.words import DATASET_FORMATS, value_of
from tuneyard.v1 import dataset_pb2, dataset_service_pb2
from tuneyard.v1.dataset_pb2 import Dataset, DatasetFormat

_POLL_SECONDS = 0.25
_OF_NO_USE = (dataset_pb2.DATASET_STATE_UPLOADING, dataset_pb2.DATASET_STATE_INVALID)


class AsyncDatasets:
    """The datasets of a server, by name ("datasets/{id}") or bare id."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def upload(
        self,
        path: Path | str,
        *,
        format: "str | DatasetFormat.ValueType",
        name: str = "",
        display_name: str = "",
        labels: Mapping[str, str] | None = None,
        progress: ProgressCallback | None = None,
    ) -> Dataset:
        """Uploads a file, or a folder as a ZIP; returns the dataset, VALIDATING or further.

        `format` is a word such as "image-folder". Without `name` the id is made from the file's name and
        content. A dataset of that id with the same bytes is reused, and an upload of them that broke off is
        taken up; other bytes raise AlreadyExists.
        """
        with ExitStack() as stack:
            source = Path(path)
            file = await asyncio.to_thread(as_file, source, stack)
            digest = await asyncio.to_thread(sha256_of, file)
            request = dataset_service_pb2.CreateDatasetRequest(
                dataset_id=name.removeprefix("datasets/") or names.content_id(source.name, digest),
                display_name=display_name or source.name,
                format=value_of(format, DATASET_FORMATS),
                size_bytes=file.stat().st_size,
                sha256=digest,
                labels=labels,
                file_name=source.name,
            )
            dataset = await self._create_or_reuse(request)
            return await upload(
                self,
                dataset,
                file,
                uploading=dataset_pb2.DATASET_STATE_UPLOADING,
                settings=self._connection.settings,
                progress=progress,
            )

    async def create(self, request: dataset_service_pb2.CreateDatasetRequest) -> Dataset:
        """Creates a dataset that waits for its bytes, for callers who send these themselves."""
        request = _with_request_id(request)
        return (await self._connection.unary(self._connection.datasets.CreateDataset, request)).dataset

    async def send(self, name: str, chunks: AsyncIterator[bytes], *, offset: int = 0) -> Dataset:
        """Sends bytes of a dataset that is UPLOADING, which begin at `offset`; UploadOffsetMismatch where the
        server holds fewer or more. Returns the dataset as it is then; nothing is repeated.
        """

        async def requests() -> AsyncIterator[dataset_service_pb2.UploadDatasetRequest]:
            header = dataset_service_pb2.UploadHeader(name=names.dataset(name), offset=offset)
            yield dataset_service_pb2.UploadDatasetRequest(header=header)
            async for chunk in chunks:
                if chunk:
                    yield dataset_service_pb2.UploadDatasetRequest(chunk=chunk)

        method = self._connection.datasets.UploadDataset
        return (await self._connection.send(method, requests())).dataset

    async def sign_upload(
        self, name: str, *, part_numbers: Sequence[int]
    ) -> Sequence[dataset_service_pb2.SignedPart]:
        """URLs to which single parts, counted from 1, can be PUT."""
        request = dataset_service_pb2.SignDatasetUploadRequest(
            name=names.dataset(name), part_numbers=part_numbers
        )
        return (await self._connection.unary(self._connection.datasets.SignDatasetUpload, request)).parts

    async def complete_upload(self, name: str) -> Dataset:
        """Ends an upload whose parts were PUT to signed URLs."""
        request = dataset_service_pb2.CompleteDatasetUploadRequest(name=names.dataset(name))
        method = self._connection.datasets.CompleteDatasetUpload
        return (await self._connection.unary(method, request, repeat=False)).dataset

    async def import_(
        self,
        source: str,
        *,
        format: "str | DatasetFormat.ValueType",
        name: str = "",
        display_name: str = "",
        labels: Mapping[str, str] | None = None,
        request_id: str = "",
    ) -> Dataset:
        """Makes a dataset from a path on the server below an allowed root, or from an s3:// URI."""
        request = dataset_service_pb2.ImportDatasetRequest(
            dataset_id=name.removeprefix("datasets/"),
            display_name=display_name,
            format=value_of(format, DATASET_FORMATS),
            source=source,
            labels=labels,
            request_id=request_id or names.new_request_id(),
        )
        return (await self._connection.unary(self._connection.datasets.ImportDataset, request)).dataset

    async def without(
        self,
        name: str,
        *,
        paths: Sequence[str] = (),
        codes: Sequence[str] = (),
        new_name: str = "",
        display_name: str = "",
        labels: Mapping[str, str] | None = None,
        request_id: str = "",
    ) -> Dataset:
        """Makes a version of a dataset without `paths`, and without files with findings of some `codes`.

        The dataset itself stays as it is. Returns the version, VALIDATING. Paths are as findings have them; a
        code such as "DUPLICATE_IMAGE" also finds the files that the report does not list.
        """
        request = dataset_service_pb2.CreateDatasetVersionRequest(
            parent=names.dataset(name),
            dataset_id=new_name.removeprefix("datasets/"),
            display_name=display_name,
            exclude_paths=paths,
            exclude_codes=codes,
            labels=labels,
            request_id=request_id or names.new_request_id(),
        )
        method = self._connection.datasets.CreateDatasetVersion
        return (await self._connection.unary(method, request)).dataset

    async def files(self, name: str, *, prefix: str = "") -> Sequence[dataset_service_pb2.DatasetFile]:
        """The files of a dataset whose bytes are there, by path."""

        async def fetch(size: int, token: str) -> tuple[Iterable[dataset_service_pb2.DatasetFile], str]:
            request = dataset_service_pb2.ListDatasetFilesRequest(
                parent=names.dataset(name), prefix=prefix, page_size=size, page_token=token
            )
            page = await self._connection.unary(self._connection.datasets.ListDatasetFiles, request)
            return page.files, page.next_page_token

        return await collect(fetch)

    async def stream_file(self, name: str, path: str) -> AsyncGenerator[bytes, None]:
        """Yields the bytes of one file of a dataset. Close the generator."""
        request = dataset_service_pb2.DownloadDatasetFileRequest(name=names.dataset(name), path=path)
        call = self._connection.stream(self._connection.datasets.DownloadDatasetFile, request)
        async with aclosing(call) as responses:
            async for response in responses:
                yield response.chunk

    async def read_lines(
        self, name: str, path: str = "", *, first: int = 1, count: int = 20
    ) -> Sequence[dataset_service_pb2.DatasetLine]:
        """Some lines of a text file of a dataset, from line `first` on; long ones are cut."""
        request = dataset_service_pb2.ReadDatasetLinesRequest(
            name=names.dataset(name), path=path, first_line=first, max_lines=count
        )
        return (await self._connection.unary(self._connection.datasets.ReadDatasetLines, request)).lines

    async def get(self, name: str) -> Dataset:
        """One dataset with its report."""
        request = dataset_service_pb2.GetDatasetRequest(name=names.dataset(name))
        return (await self._connection.unary(self._connection.datasets.GetDataset, request)).dataset

    async def delete(self, name: str) -> None:
        """Deletes a dataset; DatasetInUse while a job that waits or runs uses it."""
        request = dataset_service_pb2.DeleteDatasetRequest(name=names.dataset(name))
        await self._connection.unary(self._connection.datasets.DeleteDataset, request, repeat=False)

    async def wait_ready(self, name: str, *, timeout: timedelta | None = None) -> Dataset:
        """Waits until the dataset's validation has ended; DatasetInvalid where it ended badly."""
        try:
            async with asyncio.timeout(timeout.total_seconds() if timeout else None):
                dataset = await self._validated(name)
        except TimeoutError as error:
            raise errors.DeadlineExceeded(f"{names.dataset(name)} is not validated yet") from error
        if dataset.state == dataset_pb2.DATASET_STATE_INVALID:
            raise errors.DatasetInvalid(
                _first_error(dataset), reason="DATASET_INVALID", resource=dataset.name
            )
        return dataset

    async def _validated(self, name: str) -> Dataset:
        while True:
            dataset = await self.get(name)
            if dataset.state in (dataset_pb2.DATASET_STATE_READY, dataset_pb2.DATASET_STATE_INVALID):
                return dataset
            await asyncio.sleep(_POLL_SECONDS)

    async def _create_or_reuse(self, request: dataset_service_pb2.CreateDatasetRequest) -> Dataset:
        try:
            return await self.create(request)
        except errors.AlreadyExists:
            existing = await self.get(request.dataset_id)
            if not _is_same(existing, request):
                raise
            return existing

    async def named(self, word: str, *, of_use: bool = False) -> list[Dataset]:
        """The datasets that a person may mean by a word: the one of that id, else those of that title, newest
        first. A file's name is a title without its suffix, too. Titles of those that are UPLOADING or INVALID
        count where no other has it, and not at all if `of_use`.
        """
        if names.is_id(word.removeprefix("datasets/")):
            with suppress(errors.DatasetNotFound):
                return [await self.get(word)]
        titled = [each for each in await self.list() if word in _titles(each)]
        usable = [each for each in titled if each.state not in _OF_NO_USE]
        return usable if usable or of_use else titled

    async def list(
        self,
        *,
        format: "str | DatasetFormat.ValueType" = dataset_pb2.DATASET_FORMAT_UNSPECIFIED,
        limit: int | None = None,
    ) -> list[Dataset]:
        """Datasets, newest first, with empty findings; at most `limit`."""

        async def fetch(size: int, token: str) -> tuple[Iterable[Dataset], str]:
            request = dataset_service_pb2.ListDatasetsRequest(
                page_size=size, page_token=token, format=value_of(format, DATASET_FORMATS)
            )
            page = await self._connection.unary(self._connection.datasets.ListDatasets, request)
            return page.datasets, page.next_page_token

        return await collect(fetch, limit=limit)


def _titles(dataset: Dataset) -> tuple[str, str]:
    return dataset.display_name, names.stem(dataset.display_name)


def _is_same(existing: Dataset, wanted: dataset_service_pb2.CreateDatasetRequest) -> bool:
    if existing.format != wanted.format or existing.size_bytes != wanted.size_bytes:
        return False
    # While UPLOADING the server tells no hash, but it checks the one announced at the end.
    return existing.state == dataset_pb2.DATASET_STATE_UPLOADING or existing.sha256 == wanted.sha256


def _with_request_id(
    request: dataset_service_pb2.CreateDatasetRequest,
) -> dataset_service_pb2.CreateDatasetRequest:
    copy = dataset_service_pb2.CreateDatasetRequest()
    copy.CopyFrom(request)
    copy.request_id = copy.request_id or names.new_request_id()
    return copy


def _first_error(dataset: Dataset) -> str:
    for finding in dataset.report.findings:
        if finding.severity == dataset_pb2.SEVERITY_ERROR:
            where = f"{finding.path}: " if finding.path else ""
            return f"the dataset cannot be used: {where}{finding.message} {finding.remedy}".strip()
    return "the dataset failed validation"
