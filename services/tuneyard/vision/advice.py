"""The guide's troubleshooting made live: looks at data and the course of training, tells what to change.

It judges by few and simple rules, each named with its numbers in what is told; it changes nothing itself.
"""

import itertools
import time
from collections import deque
from statistics import fmean

import torch

from tuneyard.trainer.run import AdviceKind, Run
from tuneyard.vision.config import ClassifierConfig
from tuneyard.vision.evaluation import Evaluation
from tuneyard.vision.pixels import median_side
from tuneyard.vision.precision import cpu_multiplies_bf16
from tuneyard.vision.splits import Splits

_MAX_IMBALANCE = 5
_WINDOW = 20
_LEAST_STEPS = 100
_DATA_SHARE = 0.3


def advise_on_data(config: ClassifierConfig, splits: Splits, counts: list[int], run: Run) -> None:
    """What can be said before the first step."""
    rare, frequent = counts.index(min(counts)), counts.index(max(counts))
    balanced = config.balance_classes or config.class_weights
    if counts[frequent] > _MAX_IMBALANCE * counts[rare] and not balanced:
        run.advise(
            AdviceKind.CLASS_IMBALANCE,
            observation=(
                f"Class {splits.classes[frequent]!r} has {counts[frequent]} training images,"
                f" {splits.classes[rare]!r} has {counts[rare]}."
            ),
            remedies=("Add images of the rare classes.", "Weight the loss: balance_classes."),
            changes={"image_classifier.balance_classes": True},
            guide="best-practices",
        )
    side = median_side(splits.train)
    if side * 2 <= config.image_size:
        run.warn(
            "images_enlarged",
            f"The images are about {side} px wide or high and are enlarged to {config.image_size} px: a"
            " smaller image_size trains faster and may do as well.",
        )


def _advise_on_speed(config: ClassifierConfig, run: Run, device: torch.device) -> None:
    if device.type == "cpu" and torch.cuda.is_available():
        run.advise(
            AdviceKind.SLOW_TRAINING,
            observation="The run is on the processor although the machine has an accelerator.",
            remedies=("Leave resources.force_cpu unset.",),
            changes={"resources.force_cpu": False},
        )
    able = cpu_multiplies_bf16() if device.type == "cpu" else torch.cuda.is_bf16_supported()
    if config.precision == "fp32" and able and device.type == "cuda":
        run.advise(
            AdviceKind.SLOW_TRAINING,
            observation="The run computes in fp32 on a device that is much faster in bf16.",
            remedies=("Set precision to auto.",),
            changes={"hyperparameters.precision": "PRECISION_AUTO"},
        )


class TrainingWatch:
    """Follows losses and evaluations of one attempt. Each advice is given once a run."""

    def __init__(self, config: ClassifierConfig, run: Run, *, device: torch.device) -> None:
        self._config = config
        self._run = run
        self._first: list[float] = []
        self._recent: deque[float] = deque(maxlen=_WINDOW)
        self._lowest = float("inf")
        self._steps = 0
        self._since_evaluation: list[float] = []
        self._evaluations: list[tuple[float, float]] = []
        self._started = time.perf_counter()
        self._rendering = 0.0
        _advise_on_speed(config, run, device)

    def rendered(self, seconds: float) -> None:
        """The images of a micro-batch took so long to make."""
        self._rendering += seconds

    def stepped(self, step: int, loss: float) -> None:
        """A step's loss was measured."""
        self._steps += 1
        self._since_evaluation.append(loss)
        self._recent.append(loss)
        if len(self._first) < _WINDOW:
            self._first.append(loss)
        recent = fmean(self._recent)
        if len(self._recent) == _WINDOW:
            self._lowest = min(self._lowest, recent)
            if recent > 2 * self._lowest and recent > fmean(self._first):
                self._advise_diverging(step, recent)

    def evaluated(self, evaluation: Evaluation) -> None:
        """The model was evaluated."""
        if not self._since_evaluation:
            return
        self._evaluations.append((fmean(self._since_evaluation), evaluation.loss))
        self._since_evaluation = []
        self._look_for_overfitting()
        first, recent = fmean(self._first), fmean(self._recent)
        if self._steps >= _LEAST_STEPS and recent > 0.98 * first:
            self._advise_not_decreasing(first, recent)
        waited = time.perf_counter() - self._started
        if self._steps >= _LEAST_STEPS and self._rendering > _DATA_SHARE * waited:
            self._run.advise(
                AdviceKind.DATA_STARVED,
                observation=f"{self._rendering / waited:.0%} of the time goes into preparing images.",
                remedies=("Turn RandAugment off.", "Use fewer augmentations.", "Use a smaller image_size."),
                changes={"image_classifier.augmentation.randaugment_magnitude": 0},
            )

    def _look_for_overfitting(self) -> None:
        """Three evaluations in a row: training loss down, validation loss up, and clearly above its best."""
        last = self._evaluations[-4:]
        if len(last) < 4:
            return
        steps = list(itertools.pairwise(last))
        apart = all(after[0] < before[0] and after[1] > before[1] for before, after in steps)
        best = min(loss for _, loss in self._evaluations)
        if apart and last[-1][1] > 1.05 * best:
            self._run.advise(
                AdviceKind.OVERFITTING,
                observation=(
                    f"Over the last three evaluations the training loss fell to {last[-1][0]:.3g} while the"
                    f" validation loss rose to {last[-1][1]:.3g}; its best was {best:.3g}."
                ),
                remedies=(
                    "Add more training data.",
                    "Use more augmentation.",
                    "Raise dropout.",
                    "Use a smaller architecture.",
                    "Use early stopping.",
                ),
                changes={"early_stopping.patience": 3, "image_classifier.dropout": 0.3},
            )

    def _advise_not_decreasing(self, first: float, recent: float) -> None:
        self._run.advise(
            AdviceKind.NOT_DECREASING,
            observation=f"The training loss was {first:.3g} at first and is {recent:.3g} now.",
            remedies=(
                "Raise the learning rate; where the loss jumps about, lower it.",
                "Check the dataset: `tuneyard datasets check`, and the first batch among the samples.",
            ),
            changes={"hyperparameters.learning_rate": self._config.learning_rate * 3},
        )

    def _advise_diverging(self, step: int, recent: float) -> None:
        self._run.advise(
            AdviceKind.DIVERGING,
            observation=(
                f"By step {step} the training loss has risen from {self._lowest:.3g} to {recent:.3g}"
                f" (means of {_WINDOW} steps)."
            ),
            remedies=("Lower the learning rate.", "Warm up longer."),
            changes={"hyperparameters.learning_rate": self._config.learning_rate / 3},
        )
