"""The inference service on the wire. No family serves inference yet, and each method says so."""

from tuneyard.rpc.errors import TuneyardError
from tuneyard.rpc.interceptors import Context
from tuneyard.rpc.validation import check
from tuneyard.v1 import inference_service_pb2 as pb
from tuneyard.v1 import inference_service_pb2_grpc

_NOT_SERVED = "this release does not serve inference: download the job's artifacts and load them yourself"


class InferenceServicer(inference_service_pb2_grpc.InferenceServiceServicer):
    """Tries finished models."""

    async def Classify(self, request: pb.ClassifyRequest, context: Context) -> pb.ClassifyResponse:
        check(request)
        raise TuneyardError("NOT_SUPPORTED", _NOT_SERVED)

    async def Detect(self, request: pb.DetectRequest, context: Context) -> pb.DetectResponse:
        check(request)
        raise TuneyardError("NOT_SUPPORTED", _NOT_SERVED)

    async def GenerateText(  # type: ignore[override]
        self, request: pb.GenerateTextRequest, context: Context
    ) -> None:
        check(request)
        raise TuneyardError("NOT_SUPPORTED", _NOT_SERVED)

    async def GenerateImages(
        self, request: pb.GenerateImagesRequest, context: Context
    ) -> pb.GenerateImagesResponse:
        check(request)
        raise TuneyardError("NOT_SUPPORTED", _NOT_SERVED)
