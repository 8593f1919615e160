"""The inference service on the wire."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from tuneyard.gateway.inference import Inference
from tuneyard.rpc.interceptors import Context
from tuneyard.rpc.validation import check
from tuneyard.v1 import inference_service_pb2 as pb
from tuneyard.v1 import inference_service_pb2_grpc


class InferenceServicer(inference_service_pb2_grpc.InferenceServiceServicer):
    """Tries finished models."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def Classify(self, request: pb.ClassifyRequest, context: Context) -> pb.ClassifyResponse:
        check(request)
        answer = await self._inference.ask("Classify", request, within=context.time_remaining())
        return pb.ClassifyResponse.FromString(answer)

    async def Detect(self, request: pb.DetectRequest, context: Context) -> pb.DetectResponse:
        check(request)
        answer = await self._inference.ask("Detect", request, within=context.time_remaining())
        return pb.DetectResponse.FromString(answer)

    async def GenerateText(
        self, request: pb.GenerateTextRequest, context: Context
    ) -> AsyncIterator[pb.GenerateTextResponse]:
        check(request)
        pieces = self._inference.stream("GenerateText", request, within=context.time_remaining())
        async with aclosing(pieces):
            async for piece in pieces:
                yield pb.GenerateTextResponse.FromString(piece)

    async def GenerateImages(
        self, request: pb.GenerateImagesRequest, context: Context
    ) -> pb.GenerateImagesResponse:
        check(request)
        answer = await self._inference.ask("GenerateImages", request, within=context.time_remaining())
        return pb.GenerateImagesResponse.FromString(answer)
