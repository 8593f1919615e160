"""A finished fake model, asked about things: it sees nothing, and answers as its weights and script say."""

import hashlib
import io
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from PIL import Image

from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.fake.script import Script
from tuneyard.trainer.finished_model import BadInput, FinishedModel, InferenceError
from tuneyard.v1 import inference_service_pb2 as pb

_LABELS = ("disc", "square")
_SLICE_SECONDS = 0.005


class FakeModel:
    """The weights of a fake run."""

    def __init__(self, model: FinishedModel, script: Script) -> None:
        """Takes as long as the script says."""
        time.sleep(script.load_ms / 1000)
        if script.load_fail:
            raise RecipeError("The script says that the model cannot be loaded.")
        self._script = script
        self._bias = float(np.load(model.dir / "weights.npy", allow_pickle=False).mean())

    def answer(self, method: str, request: bytes, *, check: Callable[[], None]) -> Iterator[bytes]:
        if self._script.answer_crash:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._script.answer_fail:
            raise ValueError("cannot read /srv/models/weights.bin: scripted")
        match method:
            case "Classify":
                yield self._classify(pb.ClassifyRequest.FromString(request), check).SerializeToString()
            case "Detect":
                yield self._detect(pb.DetectRequest.FromString(request), check).SerializeToString()
            case "GenerateText":
                yield from self._speak(pb.GenerateTextRequest.FromString(request), check)
            case "GenerateImages":
                yield self._draw(pb.GenerateImagesRequest.FromString(request), check).SerializeToString()
            case _:
                raise InferenceError("NOT_SUPPORTED", f"{method}: not even the fake family does this.")

    def _classify(self, request: pb.ClassifyRequest, check: Callable[[], None]) -> pb.ClassifyResponse:
        response = pb.ClassifyResponse()
        for image in self._images(request.images, check):
            score = (hashlib.sha256(image.content).digest()[0] + abs(self._bias)) / (256 + abs(self._bias))
            ranked = sorted(zip(_LABELS, (score, 1 - score), strict=True), key=lambda pair: -pair[1])
            scores = [pb.ClassScore(label=label, score=share) for label, share in ranked]
            response.classifications.add(name=image.name, scores=scores[: request.top_k or 5])
        return response

    def _detect(self, request: pb.DetectRequest, check: Callable[[], None]) -> pb.DetectResponse:
        box = pb.Detection(label=_LABELS[0], score=0.75, x_min=1, y_min=1, x_max=9, y_max=8)
        response = pb.DetectResponse()
        for image in self._images(request.images, check):
            seen = [box] if box.score >= request.min_score else []
            response.images.add(name=image.name, detections=seen, width=16, height=16)
        return response

    def _images(self, images: Iterable[pb.ImageInput], check: Callable[[], None]) -> Iterator[pb.ImageInput]:
        for index, image in enumerate(images):
            if image.content.startswith(b"not an image"):
                raise BadInput([(f"images[{index}].content", f"{image.name}: this is no image")])
            self._pause(check)
            yield image

    def _speak(self, request: pb.GenerateTextRequest, check: Callable[[], None]) -> Iterator[bytes]:
        words = request.messages[-1].content.split()[: request.max_new_tokens or 256]
        for number, word in enumerate(words, start=1):
            self._pause(check)
            done = number == len(words)
            piece = pb.GenerateTextResponse(text=f"{word} ", done=done, token_count=number)
            yield piece.SerializeToString()

    def _draw(
        self, request: pb.GenerateImagesRequest, check: Callable[[], None]
    ) -> pb.GenerateImagesResponse:
        response = pb.GenerateImagesResponse()
        for number in range(request.count or 1):
            self._pause(check)
            file, seed = io.BytesIO(), request.seed + number
            Image.new("RGB", (8, 8), (seed % 256, 64, 128)).save(file, "PNG")
            response.images.add(png=file.getvalue(), seed=seed)
        return response

    def _pause(self, check: Callable[[], None]) -> None:
        end = time.monotonic() + self._script.answer_ms / 1000
        while True:
            if not self._script.answer_ignore_cancel:
                check()
            if time.monotonic() >= end:
                return
            time.sleep(_SLICE_SECONDS)
