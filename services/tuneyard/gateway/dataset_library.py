"""What the dataset service does: creates, receives, imports, shows and deletes datasets."""

import builtins
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from tuneyard.datasets import Code, FormatNotSupported
from tuneyard.datasets.check import require_format
from tuneyard.datasets.jsonl_source import single_file_name
from tuneyard.gateway import reports
from tuneyard.gateway.datasets import DatasetRepository
from tuneyard.gateway.requests import RequestKey
from tuneyard.gateway.sources import ImportSources
from tuneyard.gateway.store_calls import looked_up
from tuneyard.gateway.uploads import DatasetUploads, SignedPart
from tuneyard.gateway.validation import Validator
from tuneyard.rpc import names
from tuneyard.rpc.errors import TuneyardError, invalid
from tuneyard.v1 import dataset_pb2, dataset_service_pb2

_JUDGED: Final = (dataset_pb2.DATASET_STATE_READY, dataset_pb2.DATASET_STATE_INVALID)


class DatasetLibrary:
    """Datasets from their first byte to their last user."""

    def __init__(
        self,
        *,
        repository: DatasetRepository,
        uploads: DatasetUploads,
        sources: ImportSources,
        validator: Validator,
        new_id: Callable[[], str],
    ) -> None:
        self._repository = repository
        self._uploads = uploads
        self._sources = sources
        self._validator = validator
        self._new_id = new_id

    async def create(
        self, request: dataset_service_pb2.CreateDatasetRequest, key: RequestKey | None
    ) -> dataset_pb2.Dataset:
        """A dataset that waits for its bytes. ALREADY_EXISTS; NOT_SUPPORTED for the format."""
        dataset = self._new(request, request.file_name or request.display_name)
        dataset.size_bytes = request.size_bytes
        return await self._uploads.create(
            dataset, key=self._new_key(dataset), sha256=request.sha256, request=key
        )

    async def receive(
        self, header: dataset_service_pb2.UploadHeader, chunks: AsyncIterator[bytes]
    ) -> dataset_pb2.Dataset:
        """See `DatasetUploads.receive`."""
        return await self._uploads.receive(header.name, offset=header.offset, chunks=chunks)

    async def sign(self, name: str, part_numbers: Sequence[int]) -> builtins.list[SignedPart]:
        """See `DatasetUploads.sign`."""
        return await self._uploads.sign(name, part_numbers)

    async def complete(self, name: str) -> dataset_pb2.Dataset:
        """See `DatasetUploads.complete`."""
        return await self._uploads.complete(name)

    async def import_(
        self, request: dataset_service_pb2.ImportDatasetRequest, key: RequestKey | None
    ) -> dataset_pb2.Dataset:
        """A VALIDATING dataset, whose bytes are copied before they are checked. SOURCE_NOT_ALLOWED."""
        if made := await self._repository.find_request(key):
            return made
        dataset = self._new(request, request.source)
        dataset.state = dataset_pb2.DATASET_STATE_VALIDATING
        await looked_up(self._sources.check, request.source)
        made = await self._repository.create(
            dataset, key=self._new_key(dataset), source=request.source, request=key
        )
        self._validator.poke()
        return made

    async def create_version(
        self, request: dataset_service_pb2.CreateDatasetVersionRequest, key: RequestKey | None
    ) -> dataset_pb2.Dataset:
        """A VALIDATING dataset of the parent's bytes without some files. DATASET_NOT_FOUND, _NOT_READY."""
        if made := await self._repository.find_request(key):
            return made
        _check_exclusion(request)
        record = await self._repository.record(request.parent)
        parent = record.dataset
        if parent.state not in _JUDGED:
            raise TuneyardError(
                "DATASET_NOT_READY", f"{parent.name} is not validated yet", resource=parent.name
            )
        identifier = request.dataset_id or self._new_id()
        dataset = dataset_pb2.Dataset(
            name=names.dataset_name(identifier),
            display_name=request.display_name or identifier,
            format=parent.format,
            state=dataset_pb2.DATASET_STATE_VALIDATING,
            size_bytes=parent.size_bytes,
            sha256=parent.sha256,
            file_name=parent.file_name,
            labels=request.labels,
            parent=parent.name,
            exclusion=_exclusion(parent, request),
        )
        made = await self._repository.create(dataset, key=record.key, sha256=parent.sha256, request=key)
        self._validator.poke()
        return made

    async def get(self, name: str) -> dataset_pb2.Dataset:
        """One dataset with its report, and with what was received so far. DATASET_NOT_FOUND."""
        return await self._uploads.described(await self._repository.get(name))

    async def list(
        self, request: dataset_service_pb2.ListDatasetsRequest
    ) -> dataset_service_pb2.ListDatasetsResponse:
        """A page of datasets, newest first, with empty findings. INVALID_PAGE_TOKEN."""
        records, token, total = await self._repository.list(
            format=request.format, page_size=request.page_size, page_token=request.page_token
        )
        found = [await self._described(record.dataset) for record in records]
        return dataset_service_pb2.ListDatasetsResponse(
            datasets=filter(None, found), next_page_token=token, total_size=total
        )

    async def _described(self, dataset: dataset_pb2.Dataset) -> dataset_pb2.Dataset | None:
        """As `DatasetUploads.described`; None for one that was deleted since it was listed."""
        try:
            return await self._uploads.described(dataset)
        except TuneyardError as error:
            if error.reason != "DATASET_NOT_FOUND":
                raise
            return None

    async def delete(self, name: str) -> None:
        """Forget a dataset. DATASET_NOT_FOUND; DATASET_IN_USE while a job that waits or runs uses it."""
        record = await self._repository.record(name)
        await self._repository.delete(name)
        self._validator.abandon(name)
        await self._uploads.abandon(record)

    def _new(
        self,
        request: dataset_service_pb2.CreateDatasetRequest | dataset_service_pb2.ImportDatasetRequest,
        file_name: str,
    ) -> dataset_pb2.Dataset:
        try:
            require_format(reports.FORMATS[request.format])
        except FormatNotSupported as error:
            raise TuneyardError("NOT_SUPPORTED", str(error)) from None
        identifier = request.dataset_id or self._new_id()
        return dataset_pb2.Dataset(
            name=names.dataset_name(identifier),
            display_name=request.display_name or identifier,
            format=request.format,
            labels=request.labels,
            file_name=single_file_name(file_name)
            if request.format == dataset_pb2.DATASET_FORMAT_JSONL
            else "",
        )

    def _new_key(self, dataset: dataset_pb2.Dataset) -> str:
        # A key of its own for each: bytes of a deleted dataset go later, when its id may be in use again.
        return f"{dataset.name}/{self._new_id()}/data"


def _check_exclusion(request: dataset_service_pb2.CreateDatasetVersionRequest) -> None:
    names.dataset_id(request.parent, field="parent")
    if not request.exclude_paths and not request.exclude_codes:
        raise invalid("exclude_paths", "name at least one file, or a code in exclude_codes")
    for position, code in enumerate(request.exclude_codes):
        if code not in set(Code):
            raise invalid(f"exclude_codes[{position}]", f"{code!r} is no code of findings")


def _exclusion(
    parent: dataset_pb2.Dataset, request: dataset_service_pb2.CreateDatasetVersionRequest
) -> dataset_pb2.DatasetExclusion:
    """What the version leaves out, and what its parent does where that is a version itself."""
    paths, codes = set(request.exclude_paths), set(request.exclude_codes)
    if parent.HasField("exclusion"):
        # What its check left out, not what it was asked to: that may be a name that is not there.
        paths |= {*(parent.report.excluded or parent.exclusion.paths)}
        if not parent.report.excluded:
            # Its check came to no end: which files have those codes is not known yet.
            codes |= set(parent.exclusion.codes)
    return dataset_pb2.DatasetExclusion(paths=sorted(paths), codes=sorted(codes))
