"""What a classifier's answers are worth: accuracies, per-class scores, calibration. Tensors only."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tuneyard.vision.evaluation import TOP, ClassScore, class_scores, has_top5

_BINS = 15
"""As in Guo et al., On Calibration of Modern Neural Networks (2017)."""


@dataclass(frozen=True)
class Predictions:
    """A model's answers to all samples of a split, on the host, in the split's order."""

    truth: Tensor
    """(n,): the numbers of the true classes."""
    ranking: Tensor
    """(n, at most 5): the most probable classes, best first."""
    confidence: Tensor
    """(n,): the probability of the most probable class."""
    losses: Tensor
    """(n,): cross-entropy of each sample."""

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def right(self) -> Tensor:
        """(n,): whether the most probable class is the true one."""
        return self.ranking[:, 0] == self.truth

    def most_wrong(self, count: int) -> list[int]:
        """Positions of mistakes, the most confident first."""
        wrong = (~self.right).nonzero().flatten()
        order = self.confidence[wrong].argsort(descending=True, stable=True)
        positions: list[int] = wrong[order][:count].tolist()
        return positions


def answers(logits: Tensor, labels: Tensor) -> Predictions:
    """The answers of one batch, from logits of shape (n, classes) in float32."""
    ranking = logits.topk(min(TOP, logits.shape[1])).indices
    confidence = logits.softmax(1).gather(1, ranking[:, :1]).flatten()
    losses = functional.cross_entropy(logits, labels.to(logits.device), reduction="none")
    return Predictions(labels.cpu(), ranking.cpu(), confidence.cpu(), losses.cpu())


def joined(parts: Sequence[Predictions]) -> Predictions:
    """The answers of all batches."""
    return Predictions(
        truth=torch.cat([part.truth for part in parts]),
        ranking=torch.cat([part.ranking for part in parts]),
        confidence=torch.cat([part.confidence for part in parts]),
        losses=torch.cat([part.losses for part in parts]),
    )


@dataclass(frozen=True)
class Average:
    """Precision, recall and F1 over the classes."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Bin:
    """Samples whose confidence lies in (`low`, `high`]."""

    low: float
    high: float
    samples: int
    confidence: float
    """Their mean confidence; 0 where there are none."""
    accuracy: float


@dataclass(frozen=True)
class Scores:
    """What was measured on a split; `confusion[true, predicted]` counts samples."""

    samples: int
    loss: float
    accuracy_top1: float
    accuracy_top5: float
    """With up to five classes: of being among all of them, which is 1 and says nothing."""
    classes: tuple[ClassScore, ...]
    macro: Average
    """Each class with samples counts the same."""
    weighted: Average
    """Each class counts by its samples."""
    calibration: tuple[Bin, ...]
    calibration_error: float
    """The expected calibration error: how far confidence is from accuracy, averaged over the samples."""
    confusion: Tensor

    @property
    def metrics(self) -> dict[str, float]:
        """The main values that say something, named as in training and without a prefix."""
        top5 = {"accuracy_top5": self.accuracy_top5} if has_top5(len(self.classes)) else {}
        return {
            "loss": self.loss,
            "accuracy_top1": self.accuracy_top1,
            **top5,
            "macro_f1": self.macro.f1,
            "weighted_f1": self.weighted.f1,
            "calibration_error": self.calibration_error,
        }


def score(predictions: Predictions, *, classes: int) -> Scores:
    """Everything that is told of a split with at least one sample."""
    pairs = predictions.truth * classes + predictions.ranking[:, 0]
    confusion = torch.bincount(pairs, minlength=classes**2).view(classes, classes)
    per_class = tuple(class_scores(confusion))
    present = [found for found in per_class if found.support]
    bins = calibration_bins(predictions)
    total = len(predictions)
    return Scores(
        samples=total,
        loss=predictions.losses.double().mean().item(),
        accuracy_top1=predictions.right.sum().item() / total,
        accuracy_top5=(predictions.ranking == predictions.truth.unsqueeze(1)).any(1).sum().item() / total,
        classes=per_class,
        macro=_average(present, [1] * len(present)),
        weighted=_average(present, [found.support for found in present]),
        calibration=bins,
        calibration_error=sum(bin.samples * abs(bin.accuracy - bin.confidence) for bin in bins) / total,
        confusion=confusion,
    )


def calibration_bins(predictions: Predictions) -> tuple[Bin, ...]:
    """The samples by confidence, in bins of equal width."""
    numbers = (predictions.confidence.double() * _BINS).ceil().clamp(1, _BINS).long() - 1
    samples = torch.bincount(numbers, minlength=_BINS)
    confidence = torch.bincount(numbers, weights=predictions.confidence.double(), minlength=_BINS)
    right = torch.bincount(numbers, weights=predictions.right.double(), minlength=_BINS)
    return tuple(
        Bin(
            low=number / _BINS,
            high=(number + 1) / _BINS,
            samples=count,
            confidence=confidence[number].item() / count if count else 0.0,
            accuracy=right[number].item() / count if count else 0.0,
        )
        for number, count in enumerate(samples.tolist())
    )


def most_confused(confusion: Tensor, *, count: int) -> list[tuple[int, int, int]]:
    """Pairs of classes as (true, predicted, samples), the most frequent mistakes first."""
    mistakes = confusion.clone().fill_diagonal_(0).flatten()
    best = mistakes.topk(min(count, len(mistakes)))
    width = confusion.shape[1]
    found = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [(index // width, index % width, samples) for index, samples in found if samples]


def _average(scores: Sequence[ClassScore], weights: Sequence[int]) -> Average:
    total = sum(weights)

    def mean(values: Sequence[float]) -> float:
        return sum(value * weight for value, weight in zip(values, weights, strict=True)) / total

    return Average(
        mean([found.precision for found in scores]),
        mean([found.recall for found in scores]),
        mean([found.f1 for found in scores]),
    )
