"""Inference: trying finished models on single inputs."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from tuneyard.client.connection import Connection
from tuneyard.v1 import inference_service_pb2


class AsyncInference:
    """Runs finished models. The requests name the job; NoFreeSlot says when to try again."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def classify(
        self, request: inference_service_pb2.ClassifyRequest
    ) -> Sequence[inference_service_pb2.Classification]:
        """The likeliest classes of each image."""
        answer = await self._connection.unary(self._connection.inference.Classify, request)
        return answer.classifications

    async def detect(
        self, request: inference_service_pb2.DetectRequest
    ) -> Sequence[inference_service_pb2.ImageDetections]:
        """The objects in each image."""
        return (await self._connection.unary(self._connection.inference.Detect, request)).images

    async def generate_text(
        self, request: inference_service_pb2.GenerateTextRequest
    ) -> AsyncGenerator[inference_service_pb2.GenerateTextResponse, None]:
        """Yields the answer piece by piece."""
        call = self._connection.stream(self._connection.inference.GenerateText, request)
        async with aclosing(call) as responses:
            async for response in responses:
                yield response

    async def generate_images(
        self, request: inference_service_pb2.GenerateImagesRequest
    ) -> Sequence[inference_service_pb2.GeneratedImage]:
        """The images drawn for a prompt."""
        return (await self._connection.unary(self._connection.inference.GenerateImages, request)).images
