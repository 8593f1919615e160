"""Measures a model on a split: loss, accuracies and the confusion matrix. Changes nothing in the model."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tuneyard.recipes.precision import Precision, autocast
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.oom import free_memory, is_out_of_memory
from tuneyard.vision.batches import Augmenter
from tuneyard.vision.pixels import Pixels

TOP = 5


@dataclass(frozen=True)
class Evaluation:
    """What was measured; `confusion[true, predicted]` counts samples."""

    loss: float
    accuracy_top1: float
    accuracy_top5: float
    """With up to five classes: of being among all of them, which is 1 and says nothing."""
    confusion: Tensor

    @property
    def metrics(self) -> dict[str, float]:
        """The values that say something, by their metrics' names."""
        found = {"eval/loss": self.loss, "eval/accuracy_top1": self.accuracy_top1}
        return found | ({"eval/accuracy_top5": self.accuracy_top5} if has_top5(len(self.confusion)) else {})


def require_measured(metric: str, *, classes: int) -> None:
    """Raises RecipeError INVALID_FIELD where a metric to judge by is not measured for so few classes."""
    if metric.endswith("accuracy_top5") and not has_top5(classes):
        raise RecipeError(
            f"With {classes} classes {metric} is always 1 and is not measured.",
            reason="INVALID_FIELD",
            remedies=("Set early_stopping.metric to eval/accuracy_top1 or eval/loss.",),
        )


def has_top5(classes: int) -> bool:
    """Whether being among the five most probable classes is more than a matter of course."""
    return classes > TOP


@dataclass(frozen=True)
class ClassScore:
    """How one class was recognised; a ratio whose denominator is 0 counts as 0."""

    precision: float
    recall: float
    f1: float
    support: int
    """Samples of the class."""


def class_scores(confusion: Tensor) -> list[ClassScore]:
    """Precision, recall and F1 of each class."""
    scores = []
    for number in range(len(confusion)):
        hits = int(confusion[number, number])
        predicted, support = int(confusion[:, number].sum()), int(confusion[number].sum())
        precision = hits / predicted if predicted else 0.0
        recall = hits / support if support else 0.0
        f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
        scores.append(ClassScore(precision, recall, f1, support))
    return scores


class Evaluator:
    """Evaluates on one split, in batches that fit the memory."""

    def __init__(
        self,
        pixels: Pixels,
        augmenter: Augmenter,
        *,
        classes: int,
        batch_size: int,
        precision: Precision,
        device: torch.device,
    ) -> None:
        self._pixels = pixels
        self._augmenter = augmenter
        self._classes = classes
        self._batch_size = batch_size
        self._precision = precision
        self._device = device

    @torch.inference_mode()
    def evaluate(self, model: nn.Module, *, should_stop: Callable[[], bool]) -> Evaluation | None:
        """The measured values, or None if a stop was asked for before the end."""
        model.eval()
        # Sums stay on the device: reading one would wait for it.
        confusion = torch.zeros(self._classes**2, dtype=torch.long, device=self._device)
        sums = torch.zeros(2, dtype=torch.float64, device=self._device)
        start = 0
        while start < len(self._pixels):
            if should_stop():
                return None
            positions = torch.arange(start, min(start + self._batch_size, len(self._pixels)))
            logits = self._logits_or_halve(model, positions)
            if logits is None:
                continue
            labels = self._pixels.labels[positions].to(self._device)
            best = logits.topk(min(TOP, self._classes)).indices
            sums[0] += functional.cross_entropy(logits, labels, reduction="sum")
            sums[1] += (best == labels.unsqueeze(1)).any(1).sum()
            confusion += torch.bincount(labels * self._classes + best[:, 0], minlength=self._classes**2)
            start += len(positions)
        loss, among_five = (sums / len(self._pixels)).tolist()
        table = confusion.cpu().view(self._classes, self._classes)
        return Evaluation(loss, table.trace().item() / len(self._pixels), among_five, table)

    def _logits_or_halve(self, model: nn.Module, positions: Tensor) -> Tensor | None:
        try:
            return self._logits(model, positions)
        except Exception as error:
            if not is_out_of_memory(error) or len(positions) == 1:
                raise
        self._batch_size = len(positions) // 2
        free_memory()
        return None

    def predict(self, model: nn.Module, positions: Tensor) -> Tensor:
        """Probabilities of the classes for some of the split's images, on the host; in batches as above."""
        starts = range(0, len(positions), self._batch_size)
        batches = [positions[start : start + self._batch_size] for start in starts]
        return torch.cat([self._logits(model, batch).softmax(1).cpu() for batch in batches])

    @torch.inference_mode()
    def _logits(self, model: nn.Module, positions: Tensor) -> Tensor:
        with autocast(self._precision, self._device):
            logits: Tensor = model(self._augmenter.plain(self._pixels, positions))
        return logits.float()
