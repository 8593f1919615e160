"""The dataset service on the wire."""

from collections.abc import AsyncIterator

from tuneyard.gateway.dataset_files import DatasetFiles
from tuneyard.gateway.dataset_library import DatasetLibrary
from tuneyard.gateway.servicers.principal import idempotency_key
from tuneyard.gateway.servicers.streams import chunks, take_header
from tuneyard.rpc import names
from tuneyard.rpc.interceptors import Context
from tuneyard.rpc.validation import check
from tuneyard.v1 import dataset_service_pb2 as pb
from tuneyard.v1 import dataset_service_pb2_grpc


class DatasetServicer(dataset_service_pb2_grpc.DatasetServiceServicer):
    """Takes datasets in and validates them."""

    def __init__(self, library: DatasetLibrary, files: DatasetFiles) -> None:
        self._library = library
        self._files = files

    async def CreateDataset(
        self, request: pb.CreateDatasetRequest, context: Context
    ) -> pb.CreateDatasetResponse:
        check(request)
        dataset = await self._library.create(request, idempotency_key(request))
        return pb.CreateDatasetResponse(dataset=dataset)

    async def UploadDataset(
        self, request_iterator: AsyncIterator[pb.UploadDatasetRequest], context: Context
    ) -> pb.UploadDatasetResponse:
        header: pb.UploadHeader = await take_header(request_iterator)
        names.dataset_id(header.name, field="header.name")
        return pb.UploadDatasetResponse(dataset=await self._library.receive(header, chunks(request_iterator)))

    async def SignDatasetUpload(
        self, request: pb.SignDatasetUploadRequest, context: Context
    ) -> pb.SignDatasetUploadResponse:
        check(request)
        signed = await self._library.sign(request.name, request.part_numbers)
        response = pb.SignDatasetUploadResponse()
        for part in signed:
            added = response.parts.add(part_number=part.number, url=part.url)
            added.expire_time.FromDatetime(part.expires)
        return response

    async def CompleteDatasetUpload(
        self, request: pb.CompleteDatasetUploadRequest, context: Context
    ) -> pb.CompleteDatasetUploadResponse:
        check(request)
        return pb.CompleteDatasetUploadResponse(dataset=await self._library.complete(request.name))

    async def ImportDataset(
        self, request: pb.ImportDatasetRequest, context: Context
    ) -> pb.ImportDatasetResponse:
        check(request)
        dataset = await self._library.import_(request, idempotency_key(request))
        return pb.ImportDatasetResponse(dataset=dataset)

    async def CreateDatasetVersion(
        self, request: pb.CreateDatasetVersionRequest, context: Context
    ) -> pb.CreateDatasetVersionResponse:
        check(request)
        dataset = await self._library.create_version(request, idempotency_key(request))
        return pb.CreateDatasetVersionResponse(dataset=dataset)

    async def GetDataset(self, request: pb.GetDatasetRequest, context: Context) -> pb.GetDatasetResponse:
        check(request)
        return pb.GetDatasetResponse(dataset=await self._library.get(request.name))

    async def ListDatasets(
        self, request: pb.ListDatasetsRequest, context: Context
    ) -> pb.ListDatasetsResponse:
        check(request)
        return await self._library.list(request)

    async def ListDatasetFiles(
        self, request: pb.ListDatasetFilesRequest, context: Context
    ) -> pb.ListDatasetFilesResponse:
        check(request)
        names.dataset_id(request.parent, field="parent")
        return await self._files.list(request)

    async def DownloadDatasetFile(
        self, request: pb.DownloadDatasetFileRequest, context: Context
    ) -> AsyncIterator[pb.DownloadDatasetFileResponse]:
        check(request)
        async for response in self._files.download(request.name, request.path):
            yield response

    async def ReadDatasetLines(
        self, request: pb.ReadDatasetLinesRequest, context: Context
    ) -> pb.ReadDatasetLinesResponse:
        check(request)
        return await self._files.lines(request)

    async def DeleteDataset(
        self, request: pb.DeleteDatasetRequest, context: Context
    ) -> pb.DeleteDatasetResponse:
        check(request)
        await self._library.delete(request.name)
        return pb.DeleteDatasetResponse()
