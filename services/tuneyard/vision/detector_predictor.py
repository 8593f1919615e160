"""A stored detector, loaded from its two files and asked about images. Knows nothing of training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tuneyard.datasets.orientation import upright
from tuneyard.vision.detector_model import PADDING, STRIDE, LoadedDetector, load_detector
from tuneyard.vision.detector_offline import non_max_suppression
from tuneyard.vision.pixels import as_rgb

_AT_ONCE = 8
"""Images in one forward pass, so that memory does not grow with the number asked about."""
_MAX_BOXES = 300
_NO_TIME_LIMIT = 1e9
"""Seconds: ultralytics otherwise gives up the rest of a batch on a busy machine, and says nothing."""


@dataclass(frozen=True)
class DetectedBox:
    """One object; corners in pixels of the upright image, x to the right and y down."""

    label: str
    score: float
    """The confidence, 0 to 1."""
    x_min: float
    y_min: float
    x_max: float
    y_max: float


@dataclass(frozen=True)
class _Placement:
    """How an image lies in its input: scaled, then shifted."""

    scale: float
    left: int
    top: int
    width: int
    height: int


def detections(
    predictions: Any, *, min_score: float, iou_threshold: float, max_boxes: int = _MAX_BOXES
) -> list[Tensor]:
    """What the network found in each image of a batch, overlapping boxes of one class removed.

    Each is (n, 6): two corners in pixels of the input, score, number of the class; best first.
    """
    return cast(
        list[Tensor],
        non_max_suppression(
            predictions,
            min_score,
            iou_threshold,
            multi_label=True,
            max_det=max_boxes,
            max_time_img=_NO_TIME_LIMIT,
        ),
    )


class Detector:
    """A model that is ready to detect."""

    def __init__(self, loaded: LoadedDetector, *, device: str = "cpu") -> None:
        self.classes = loaded.classes
        self.architecture = loaded.architecture
        self.image_size = loaded.image_size
        self._device = torch.device(device)
        # Batch norm folded into the convolutions: the same outputs but for rounding, and faster.
        self._model = cast(Any, loaded.model).fuse(verbose=False).to(self._device).eval()

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """The detector whose model.safetensors and config.json lie in a folder.

        Raises RecipeError BASE_MODEL_UNAVAILABLE.
        """
        return cls(load_detector(folder), device=device)

    @torch.inference_mode()
    def detect(
        self, images: Sequence[Image.Image], *, min_score: float = 0.25, iou_threshold: float = 0.7
    ) -> list[list[DetectedBox]]:
        """The objects in each image, the most certain first; images may differ in size.

        An image with an EXIF orientation is turned upright first, and the boxes are those of the upright one.
        Of boxes of one class that overlap more than `iou_threshold` the best is kept.
        """
        found: list[list[DetectedBox]] = []
        for start in range(0, len(images), _AT_ONCE):
            found += self._detect(images[start : start + _AT_ONCE], min_score, iou_threshold)
        return found

    def _detect(
        self, images: Sequence[Image.Image], min_score: float, iou_threshold: float
    ) -> list[list[DetectedBox]]:
        batch, placements = place([upright_pixels(image) for image in images], self.image_size)
        pixels = torch.from_numpy(batch).to(self._device).permute(0, 3, 1, 2).float().div_(255)
        predictions = self._model(pixels)
        per_image = detections(predictions, min_score=min_score, iou_threshold=iou_threshold)
        return [self._boxes(rows, placement) for rows, placement in zip(per_image, placements, strict=True)]

    def _boxes(self, rows: Tensor, placement: _Placement) -> list[DetectedBox]:
        boxes = []
        for x_min, y_min, x_max, y_max, score, number in rows.cpu().tolist():
            left, right = (
                min(max((x - placement.left) / placement.scale, 0.0), placement.width) for x in (x_min, x_max)
            )
            top, bottom = (
                min(max((y - placement.top) / placement.scale, 0.0), placement.height) for y in (y_min, y_max)
            )
            boxes.append(DetectedBox(self.classes[int(number)], score, left, top, right, bottom))
        return boxes


def upright_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """The image as (height, width, 3), RGB, turned as its EXIF orientation says."""
    return np.asarray(as_rgb(upright(image)))


def place(images: Sequence[NDArray[np.uint8]], image_size: int) -> tuple[NDArray[np.uint8], list[_Placement]]:
    """The images as one batch (n, height, width, 3): the longer side scaled, the rest grey.

    The batch is no larger than its images need, and a multiple of the network's stride.
    """
    scales = [image_size / max(image.shape[:2]) for image in images]
    sizes = [
        (max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale)))
        for image, scale in zip(images, scales, strict=True)
    ]
    height = math.ceil(max(size[0] for size in sizes) / STRIDE) * STRIDE
    width = math.ceil(max(size[1] for size in sizes) / STRIDE) * STRIDE
    batch = np.full((len(images), height, width, 3), PADDING, dtype=np.uint8)
    placements = []
    for number, (image, scale, size) in enumerate(zip(images, scales, sizes, strict=True)):
        top, left = (height - size[0]) // 2, (width - size[1]) // 2
        scaled = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
        batch[number, top : top + size[0], left : left + size[1]] = scaled
        placements.append(_Placement(scale, left, top, image.shape[1], image.shape[0]))
    return batch, placements
