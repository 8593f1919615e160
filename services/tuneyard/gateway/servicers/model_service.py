"""The model service on the wire."""

from collections.abc import AsyncIterator

from tuneyard.gateway.model_library import ModelLibrary
from tuneyard.gateway.servicers.principal import idempotency_key
from tuneyard.gateway.servicers.streams import chunks, take_header
from tuneyard.rpc.interceptors import Context
from tuneyard.rpc.validation import check
from tuneyard.v1 import model_service_pb2 as pb
from tuneyard.v1 import model_service_pb2_grpc


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """Knows which base models there are and keeps those that were imported."""

    def __init__(self, library: ModelLibrary) -> None:
        self._library = library

    async def ListBaseModels(
        self, request: pb.ListBaseModelsRequest, context: Context
    ) -> pb.ListBaseModelsResponse:
        check(request)
        return await self._library.catalogue(request)

    async def ImportModel(self, request: pb.ImportModelRequest, context: Context) -> pb.ImportModelResponse:
        check(request)
        return pb.ImportModelResponse(model=await self._library.import_(request, idempotency_key(request)))

    async def UploadModel(
        self, request_iterator: AsyncIterator[pb.UploadModelRequest], context: Context
    ) -> pb.UploadModelResponse:
        header: pb.ModelUploadHeader = await take_header(request_iterator)
        return pb.UploadModelResponse(model=await self._library.receive(header, chunks(request_iterator)))

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        check(request)
        return pb.GetModelResponse(model=await self._library.get(request.name))

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        check(request)
        models, token = await self._library.list(request)
        return pb.ListModelsResponse(models=models, next_page_token=token)

    async def DeleteModel(self, request: pb.DeleteModelRequest, context: Context) -> pb.DeleteModelResponse:
        check(request)
        await self._library.delete(request.name)
        return pb.DeleteModelResponse()
