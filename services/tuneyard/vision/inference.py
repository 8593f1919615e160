"""Finished vision models, asked by the inference service's requests: images in, classes or boxes out.

The images come from anywhere: each is looked at before anything is decoded, and what is wrong with one is
said of that one.
"""

import io
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from google.protobuf.duration_pb2 import Duration
from PIL import Image

from tuneyard.datasets.orientation import orientation
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.finished_model import Answerer, BadInput, FinishedModel, InferenceError
from tuneyard.v1 import inference_service_pb2 as pb
from tuneyard.vision.predictor import Classifier

if TYPE_CHECKING:  # the package that it needs is installed by an extra of its own
    from tuneyard.vision.detector_predictor import Detector

_FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
_MAX_MEGAPIXELS: Final = 100
_AT_ONCE: Final = 16
_MEGAPIXELS_AT_ONCE: Final = 50
"""Decoded images of this size together take 150 MB."""
_DEFAULT_TOP, _DEFAULT_MIN_SCORE, _DEFAULT_IOU = 5, 0.25, 0.7


def open_model(model: FinishedModel) -> Answerer:
    """A finished vision job's model. Raises InferenceError NOT_SUPPORTED, RecipeError."""
    torch.set_num_threads(model.cpu_threads)
    match model.spec.training.WhichOneof("task"):
        case "image_classifier":
            return _ClassifierAnswers(Classifier.load(model.dir, device=model.device))
        case "object_detector":
            from tuneyard.vision.detector_predictor import Detector

            return _DetectorAnswers(Detector.load(model.dir, device=model.device))
        case task:
            raise InferenceError("NOT_SUPPORTED", f"This trainer does not serve {task} models.")


class _ClassifierAnswers:
    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def answer(self, method: str, request: bytes, *, check: Callable[[], None]) -> Iterator[bytes]:
        if method != "Classify":
            raise InferenceError("NOT_SUPPORTED", f"A classifier does not answer {method}: call Classify.")
        question = pb.ClassifyRequest.FromString(request)
        response = pb.ClassifyResponse()
        began = time.monotonic()
        prepared = self._prepared(question.images, check)
        for start in range(0, len(prepared), _AT_ONCE):
            check()
            part = prepared[start : start + _AT_ONCE]
            for prediction in self._classifier.rank(part, top=question.top_k or _DEFAULT_TOP):
                name = question.images[len(response.classifications)].name
                scores = [pb.ClassScore(label=label, score=score) for label, score in prediction.ranking]
                response.classifications.add(name=name, scores=scores)
        response.elapsed.CopyFrom(_duration(time.monotonic() - began))
        yield response.SerializeToString()

    def _prepared(self, images: Sequence[pb.ImageInput], check: Callable[[], None]) -> list[np.ndarray]:
        prepared, faults = [], _Faults(images)
        for index, image in enumerate(images):
            check()
            try:
                _examine(image.content)
                prepared.append(self._classifier.prepare(image.content))
            except (_Unusable, RecipeError) as error:
                faults.add(index, error)
        faults.raise_if_any()
        return prepared


class _DetectorAnswers:
    def __init__(self, detector: "Detector") -> None:
        self._detector = detector

    def answer(self, method: str, request: bytes, *, check: Callable[[], None]) -> Iterator[bytes]:
        if method != "Detect":
            raise InferenceError("NOT_SUPPORTED", f"A detector does not answer {method}: call Detect.")
        question = pb.DetectRequest.FromString(request)
        began = time.monotonic()
        sizes = _sizes(question.images)
        response = pb.DetectResponse()
        for part in _parts(sizes):
            check()
            self._detect(question, part, sizes, response)
        response.elapsed.CopyFrom(_duration(time.monotonic() - began))
        yield response.SerializeToString()

    def _detect(
        self,
        question: pb.DetectRequest,
        part: range,
        sizes: Sequence[tuple[int, int]],
        response: pb.DetectResponse,
    ) -> None:
        faults = _Faults(question.images)
        decoded = []
        for index in part:
            try:
                decoded.append(_decode(question.images[index].content))
            except _Unusable as error:
                faults.add(index, error)
        faults.raise_if_any()
        found = self._detector.detect(
            decoded,
            min_score=question.min_score if question.HasField("min_score") else _DEFAULT_MIN_SCORE,
            iou_threshold=question.iou_threshold if question.HasField("iou_threshold") else _DEFAULT_IOU,
        )
        for index, boxes in zip(part, found, strict=True):
            width, height = sizes[index]
            detections = [
                pb.Detection(
                    label=box.label,
                    score=box.score,
                    x_min=box.x_min,
                    y_min=box.y_min,
                    x_max=box.x_max,
                    y_max=box.y_max,
                )
                for box in boxes
            ]
            name = question.images[index].name
            response.images.add(name=name, detections=detections, width=width, height=height)


class _Unusable(Exception):
    """An image that cannot be used; the message says why."""


class _Faults:
    """What is wrong with some of a request's images."""

    def __init__(self, images: Sequence[pb.ImageInput]) -> None:
        self._images = images
        self._violations: list[tuple[str, str]] = []

    def add(self, index: int, error: Exception) -> None:
        name = self._images[index].name
        text = str(error) if isinstance(error, _Unusable) else "it cannot be decoded as an image"
        self._violations.append((f"images[{index}].content", f"{name}: {text}" if name else text))

    def raise_if_any(self) -> None:
        if self._violations:
            raise BadInput(self._violations)


def _sizes(images: Sequence[pb.ImageInput]) -> list[tuple[int, int]]:
    """The upright images' widths and heights. Raises BadInput."""
    sizes, faults = [], _Faults(images)
    for index, image in enumerate(images):
        try:
            sizes.append(_examine(image.content))
        except _Unusable as error:
            faults.add(index, error)
    faults.raise_if_any()
    return sizes


def _parts(sizes: Sequence[tuple[int, int]]) -> Iterator[range]:
    """Runs of images that are decoded together: few enough, and small enough."""
    start, pixels = 0, 0
    for index, (width, height) in enumerate(sizes):
        pixels += width * height
        if index > start and (index - start >= _AT_ONCE or pixels > _MEGAPIXELS_AT_ONCE * 1_000_000):
            yield range(start, index)
            start, pixels = index, width * height
    if start < len(sizes):
        yield range(start, len(sizes))


def _examine(content: bytes) -> tuple[int, int]:
    """The upright image's width and height, by its header alone. Raises _Unusable."""
    with _opened(content) as image:
        width, height = image.size
        if width * height > _MAX_MEGAPIXELS * 1_000_000:
            raise _Unusable(
                f"it has {width} × {height} pixels; at most {_MAX_MEGAPIXELS} million are accepted"
            )
        return (height, width) if orientation(image) >= 5 else (width, height)


def _decode(content: bytes) -> Image.Image:
    try:
        image = _opened(content)
        image.load()
        return image
    except (OSError, ValueError, SyntaxError) as error:
        raise _Unusable("it cannot be decoded: it seems to be cut off or damaged") from error


def _opened(content: bytes) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Of images between Pillow's limit for a warning and ours.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(content), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise _Unusable(f"it has more than {_MAX_MEGAPIXELS} million pixels") from error
    except (OSError, ValueError, SyntaxError, ImportError) as error:
        # ImportError: with ultralytics loaded, Pillow looks for a plugin where it does not know the format.
        raise _Unusable("it is no image in JPEG, PNG, WebP, BMP, GIF or TIFF format") from error


def _duration(seconds: float) -> Duration:
    elapsed = Duration()
    elapsed.FromNanoseconds(round(seconds * 1e9))
    return elapsed
