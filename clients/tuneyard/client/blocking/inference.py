"""The blocking calls to finished models: each runs its namesake of the asyncio client to the end."""

from collections.abc import Generator, Sequence

from tuneyard.client.inference import AsyncInference
from tuneyard.client.portal import Portal
from tuneyard.v1 import inference_service_pb2


class Inference:
    """Runs finished models. See `AsyncInference`."""

    def __init__(self, inference: AsyncInference, portal: Portal) -> None:
        self._inference = inference
        self._portal = portal

    def classify(
        self, request: inference_service_pb2.ClassifyRequest
    ) -> Sequence[inference_service_pb2.Classification]:
        """The likeliest classes of each image."""
        return self._portal.run(self._inference.classify(request))

    def detect(
        self, request: inference_service_pb2.DetectRequest
    ) -> Sequence[inference_service_pb2.ImageDetections]:
        """The objects in each image."""
        return self._portal.run(self._inference.detect(request))

    def generate_text(
        self, request: inference_service_pb2.GenerateTextRequest
    ) -> Generator[inference_service_pb2.GenerateTextResponse, None, None]:
        """Yields the answer piece by piece, with `compare_with_base` the base model's after the tuned one's.

        Each model's last piece is `done` and says why it ended. Leaving early ends the work on the answer.
        """
        yield from self._portal.iterate(self._inference.generate_text(request))

    def generate_images(
        self, request: inference_service_pb2.GenerateImagesRequest
    ) -> Sequence[inference_service_pb2.GeneratedImage]:
        """The images drawn for a prompt."""
        return self._portal.run(self._inference.generate_images(request))
