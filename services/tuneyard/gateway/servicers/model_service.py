"""The model service on the wire."""

from collections.abc import AsyncIterator

from tuneyard.gateway.model_library import ModelLibrary
from tuneyard.gateway.servicers.principal import idempotency_key
from tuneyard.gateway.servicers.streams import chunks, take_first
from tuneyard.rpc import names
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

    async def CreateModel(self, request: pb.CreateModelRequest, context: Context) -> pb.CreateModelResponse:
        check(request)
        return pb.CreateModelResponse(model=await self._library.create(request, idempotency_key(request)))

    async def UploadModel(
        self, request_iterator: AsyncIterator[pb.UploadModelRequest], context: Context
    ) -> pb.UploadModelResponse:
        first = await take_first(request_iterator, ("header", "place"))
        rest = chunks(request_iterator)
        if first.HasField("place"):
            names.model_id(first.place.name, field="place.name")
            return pb.UploadModelResponse(model=await self._library.go_on(first.place, rest))
        return pb.UploadModelResponse(model=await self._library.receive(first.header, rest))

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
