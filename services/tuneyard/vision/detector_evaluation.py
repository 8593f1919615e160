"""Measures a detector on a split: average precision, precision, recall, losses, confusion. Changes nothing.

The numbers are those of `yolo val`: its image sizes, its matching of boxes, its averaging.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tuneyard.trainer.oom import free_memory, is_out_of_memory
from tuneyard.vision.detector_batches import DetectionSamples, Draw, Sample, collate
from tuneyard.vision.detector_loss import DetectorLoss
from tuneyard.vision.detector_offline import ConfusionMatrix, DetMetrics, box_iou
from tuneyard.vision.detector_predictor import detections

_MIN_SCORE = 0.001
_IOU_THRESHOLD = 0.7
_SURE = 0.25
"""The score from which the confusion matrix counts a box."""
_MAX_BOXES = 300
_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_MAX_TOLD_CLASSES = 100
"""With more classes than these, the metrics of single classes stand in metrics.json only."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DetectionClassScore:
    """How one class was found; precision and recall at the score where their mean F1 is best."""

    precision: float
    recall: float
    f1: float
    ap50: float
    ap50_95: float
    boxes: int
    """Labelled boxes of the class."""
    images: int
    """Images with one."""


@dataclass(frozen=True)
class DetectionEvaluation:
    """What was measured on one split."""

    map50: float
    map50_95: float
    precision: float
    recall: float
    box_loss: float
    cls_loss: float
    dfl_loss: float
    classes: dict[str, DetectionClassScore]
    """Of the classes that have boxes in the split."""
    confusion: Floats = field(repr=False)
    """(predicted, true), counts of boxes; the last row is missed boxes, the last column false ones."""
    scores: Floats = field(repr=False)
    """The 1,000 scores at which the curves are given."""
    f1_curves: Floats = field(repr=False)
    """(classes with boxes, 1000): F1 over `scores`."""
    precision_at_recall: Floats = field(repr=False)
    """(classes with boxes, 1000): precision over recall from 0 to 1."""

    @property
    def loss(self) -> float:
        """The sum of the three losses."""
        return self.box_loss + self.cls_loss + self.dfl_loss

    @property
    def metrics(self) -> dict[str, float]:
        """The values by their metrics' names, with the average precision of each class."""
        values = {
            "eval/map50": self.map50,
            "eval/map50_95": self.map50_95,
            "eval/precision": self.precision,
            "eval/recall": self.recall,
            "eval/loss": self.loss,
            "eval/box_loss": self.box_loss,
            "eval/cls_loss": self.cls_loss,
            "eval/dfl_loss": self.dfl_loss,
        }
        if 1 < len(self.classes) <= _MAX_TOLD_CLASSES:
            values |= {f"eval/ap50/{name}": score.ap50 for name, score in self.classes.items()}
            values |= {f"eval/ap50_95/{name}": score.ap50_95 for name, score in self.classes.items()}
        return values


class DetectionEvaluator:
    """Evaluates on one split, in batches that fit the memory."""

    def __init__(
        self, samples: DetectionSamples, loss: DetectorLoss, *, classes: Sequence[str], batch_size: int
    ) -> None:
        """Neighbours of `batch_size` in `samples` have one shape."""
        self._samples = samples
        self._loss = loss
        self.classes = tuple(classes)
        self._names = dict(enumerate(classes))
        self._batch_size = batch_size
        self._at_once = batch_size
        # An image with more objects than the usual limit could not be judged by it.
        most = max((len(sample.boxes) for sample in samples.samples), default=0)
        self._max_boxes = max(_MAX_BOXES, most)

    @torch.inference_mode()
    def evaluate(self, model: nn.Module, *, should_stop: Callable[[], bool]) -> DetectionEvaluation | None:
        """The measured values, or None if a stop was asked for before the end."""
        model.eval()
        metrics: Any = DetMetrics(self._names)
        confusion: Any = ConfusionMatrix(self._names)
        sums = torch.zeros(3, dtype=torch.float64)
        for start in range(0, len(self._samples), self._batch_size):
            if should_stop():
                return None
            end = min(start + self._batch_size, len(self._samples))
            samples = [self._samples[Draw(0, position, False)] for position in range(start, end)]
            position = 0
            while position < len(samples):
                piece = samples[position : position + self._at_once]
                found = self._found_or_halve(model, piece)
                if found is None:
                    continue
                sums += found[1].cpu() * len(piece)
                for sample, boxes in zip(piece, found[0], strict=True):
                    _count(metrics, confusion, sample, boxes.cpu())
                position += len(piece)
        metrics.process()
        return self._evaluation(metrics, confusion.matrix, (sums / len(self._samples)).tolist())

    def _found_or_halve(self, model: nn.Module, samples: list[Sample]) -> tuple[list[Tensor], Tensor] | None:
        try:
            return self.found(model, samples)
        except Exception as error:
            if not is_out_of_memory(error) or len(samples) == 1:
                raise
        self._at_once = len(samples) // 2
        free_memory()
        return None

    @torch.inference_mode()
    def found(
        self, model: nn.Module, samples: Sequence[Sample], *, min_score: float = _MIN_SCORE
    ) -> tuple[list[Tensor], Tensor]:
        """The boxes (n, 6) in each image of one shape, in px of its input, and the mean losses."""
        batch = collate(samples)
        raw = self._loss.raw(model, self._loss.images(batch))
        _, parts = self._loss.losses(raw, batch)
        decoded = self._loss.decoded(model, raw)
        return (
            detections(decoded, min_score=min_score, iou_threshold=_IOU_THRESHOLD, max_boxes=self._max_boxes),
            parts.double(),
        )

    def _evaluation(self, metrics: Any, confusion: Floats, losses: list[float]) -> DetectionEvaluation:
        box = metrics.box
        precision, recall, map50, map50_95 = (float(value) for value in metrics.mean_results())
        classes = {
            self._names[int(number)]: DetectionClassScore(
                precision=float(box.p[row]),
                recall=float(box.r[row]),
                f1=float(box.f1[row]),
                ap50=float(box.all_ap[row, 0]),
                ap50_95=float(box.all_ap[row].mean()),
                boxes=int(metrics.nt_per_class[number]),
                images=int(metrics.nt_per_image[number]),
            )
            for row, number in enumerate(box.ap_class_index)
        }
        return DetectionEvaluation(
            map50=map50,
            map50_95=map50_95,
            precision=precision,
            recall=recall,
            box_loss=losses[0],
            cls_loss=losses[1],
            dfl_loss=losses[2],
            classes=classes,
            confusion=np.asarray(confusion),
            scores=np.asarray(box.px),
            f1_curves=np.asarray(box.f1_curve),
            precision_at_recall=np.asarray(box.prec_values),
        )


def true_boxes(sample: Sample) -> tuple[Tensor, Tensor]:
    """The labelled boxes of a prepared image, corners in px of its input, and their classes."""
    height, width = sample["img"].shape[1:]
    x, y, wide, high = sample["bboxes"].unbind(1)
    sides = torch.tensor([width, height, width, height])
    corners = torch.stack([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2], dim=1) * sides
    return corners, sample["cls"].squeeze(-1)


def _count(metrics: Any, confusion: Any, sample: Sample, boxes: Tensor) -> None:
    """Adds one image's boxes (n, 6) to what is counted."""
    corners, labels = true_boxes(sample)
    true = {"bboxes": corners, "cls": labels}
    classes = labels.numpy()
    metrics.update_stats(
        {
            "tp": hits(boxes, corners, labels),
            "conf": boxes[:, 4].numpy(),
            "pred_cls": boxes[:, 5].numpy(),
            "target_cls": classes,
            "target_img": np.unique(classes),
            "im_name": sample["im_file"],
        }
    )
    sure = boxes[boxes[:, 4] > _SURE]
    predicted = {"bboxes": sure[:, :4], "conf": sure[:, 4], "cls": sure[:, 5]}
    confusion.process_batch(predicted, true, conf=_SURE)


def hits(boxes: Tensor, corners: Tensor, labels: Tensor) -> NDArray[np.bool_]:
    """Which of the boxes (n, 6), best first, find an object, at each of ten overlaps from 0.5 to 0.95.

    A labelled object is found once: by the best box that overlaps it enough, of those of its class.
    """
    correct = np.zeros((len(boxes), len(_THRESHOLDS)), dtype=bool)
    if not len(boxes) or not len(labels):
        return correct
    same = labels[:, None] == boxes[:, 5]
    overlaps = (box_iou(corners, boxes[:, :4]) * same).numpy()
    taken = np.zeros((len(labels), len(_THRESHOLDS)), dtype=bool)
    places = np.arange(len(_THRESHOLDS))
    for number in np.flatnonzero((overlaps >= _THRESHOLDS[0]).any(0)):
        free = np.where(taken, 0, overlaps[:, number, None])
        best = free.argmax(0)
        correct[number] = free[best, places] >= _THRESHOLDS
        taken[best, places] |= correct[number]
    return correct
