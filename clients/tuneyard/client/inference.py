"""Inference: trying finished models on single inputs."""

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import Final

from tuneyard.client.connection import Connection
from tuneyard.v1 import inference_service_pb2
from tuneyard.v1.inference_service_pb2 import ImageInput

MAX_IMAGES: Final = 64
"""Images in one call."""
MAX_BATCH_BYTES: Final = (32 << 20) - (64 << 10)
"""Images of one call together: what a server takes, less the rest of the request."""
MAX_IMAGE_BYTES: Final = 31 << 20
"""An image's file."""

_OVERHEAD_BYTES: Final = 8


def image_batches(images: Iterable[ImageInput]) -> Iterator[list[ImageInput]]:
    """The images in as few parts as one call can take each; they are asked for as they are needed.

    Raises ValueError for an image that is too large.
    """
    batch: list[ImageInput] = []
    batch_bytes = 0
    for image in images:
        image_bytes = image.ByteSize() + _OVERHEAD_BYTES
        if len(image.content) > MAX_IMAGE_BYTES:
            size = f"{len(image.content) / (1 << 20):.1f} MiB"
            raise ValueError(f"{image.name}: an image of {size} is too large; at most 31 MiB can be sent")
        if batch and (len(batch) == MAX_IMAGES or batch_bytes + image_bytes > MAX_BATCH_BYTES):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(image)
        batch_bytes += image_bytes
    if batch:
        yield batch


class AsyncInference:
    """Runs finished models. The requests name the job; NoFreeSlot says when to try again."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def classify(
        self, request: inference_service_pb2.ClassifyRequest
    ) -> Sequence[inference_service_pb2.Classification]:
        """The likeliest classes of each image."""
        answer = await self._connection.unary(
            self._connection.inference.Classify, request, timeout=self._connection.settings.inference_timeout
        )
        return answer.classifications

    async def detect(
        self, request: inference_service_pb2.DetectRequest
    ) -> Sequence[inference_service_pb2.ImageDetections]:
        """The objects in each image."""
        answer = await self._connection.unary(
            self._connection.inference.Detect, request, timeout=self._connection.settings.inference_timeout
        )
        return answer.images

    async def generate_text(
        self, request: inference_service_pb2.GenerateTextRequest
    ) -> AsyncGenerator[inference_service_pb2.GenerateTextResponse, None]:
        """Yields the answer piece by piece, with `compare_with_base` the base model's after the tuned one's.

        Each model's last piece is `done` and says why it ended. Leaving early ends the work on the answer.
        """
        call = self._connection.stream(self._connection.inference.GenerateText, request)
        async with aclosing(call) as responses:
            async for response in responses:
                yield response

    async def generate_images(
        self, request: inference_service_pb2.GenerateImagesRequest
    ) -> Sequence[inference_service_pb2.GeneratedImage]:
        """The images drawn for a prompt."""
        answer = await self._connection.unary(
            self._connection.inference.GenerateImages,
            request,
            timeout=self._connection.settings.inference_timeout,
        )
        return answer.images
