"""The guide's troubleshooting made live: looks at data and the course of training, tells what to change.

What the numbers mean is judged by `trainer.curves`, for every recipe alike; here it becomes advice with the
settings of the task at hand. It changes nothing itself.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from tuneyard.datasets import Report, Severity
from tuneyard.datasets.codes import ADVICE
from tuneyard.trainer import curves
from tuneyard.trainer.curves import Cause, Curves, Stall
from tuneyard.trainer.run import AdviceKind, Run
from tuneyard.vision.config import ClassifierConfig
from tuneyard.vision.pixels import median_side
from tuneyard.vision.precision import cpu_multiplies_bf16
from tuneyard.vision.recommended import usual_learning_rate
from tuneyard.vision.splits import Splits

FIRST_BATCH = "samples/first-batch.png"
"""The artifact that shows the first images as the model saw them."""

_NAMED_CODES = 3


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a training's advice depends on, whatever its task. Changes are new settings by field path."""

    learning_rate: float
    usual_learning_rate: float
    """The recommended one for the optimizer in use."""
    chance_loss: float | None = None
    """The loss of guessing, where it is known."""
    report: Report
    """Of the training dataset."""
    overfitting_remedies: tuple[str, ...]
    overfitting_changes: Mapping[str, object]
    starved_remedies: tuple[str, ...]
    starved_changes: Mapping[str, object]
    diverging_remedies: tuple[str, ...]


def classifier_subject(config: ClassifierConfig, report: Report, *, classes: int) -> Subject:
    """The subject of a classifier's training; remedies against overfitting stand in the guide's order."""
    augmentation = config.augmentation
    less = {"image_classifier.augmentation.randaugment_magnitude": 0}
    more: dict[str, object] = {"image_classifier.dropout": min(0.5, round((config.dropout or 0.1) + 0.2, 2))}
    if augmentation.randaugment_magnitude < 9:
        more["image_classifier.augmentation.randaugment_magnitude"] = 9
    if not config.patience:
        more["early_stopping.patience"] = 3
    stopping = f"Early stopping is on, with a patience of {config.patience}: use a shorter one."
    return Subject(
        learning_rate=config.learning_rate,
        usual_learning_rate=usual_learning_rate(config.optimizer, from_scratch=not config.pretrained),
        chance_loss=math.log(classes),
        report=report,
        overfitting_remedies=(
            f"Add more training data: there are {report.samples} samples.",
            "Use more augmentation.",
            "Raise dropout.",
            f"Reduce the model: an architecture smaller than {config.architecture}, or a frozen backbone.",
            stopping if config.patience else "Use early stopping.",
        ),
        overfitting_changes=more,
        starved_remedies=(
            *(("Turn RandAugment off: it works on one image at a time.",) if _randaugment(config) else ()),
            "Use a smaller image_size.",
            "Give the run more threads (resources.cpu_threads).",
        ),
        starved_changes=less if _randaugment(config) else {},
        diverging_remedies=(
            "Lower the learning rate.",
            "Warm up longer.",
            *(() if config.max_grad_norm else ("Clip gradients: set max_grad_norm to 1.",)),
            *(("Use precision bf16 or fp32.",) if config.precision == "fp16" else ()),
        ),
    )


def _randaugment(config: ClassifierConfig) -> bool:
    return config.augmentation.randaugment_magnitude > 0


def advise_on_data(config: ClassifierConfig, splits: Splits, counts: list[int], run: Run) -> None:
    """What can be said before the first step."""
    balanced = config.balance_classes or config.class_weights
    seen = curves.imbalance(dict(zip(splits.classes, counts, strict=True)), unit="training images")
    if seen and not balanced:
        run.advise(
            AdviceKind.CLASS_IMBALANCE,
            observation=seen,
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


def advise_on_speed(precision: str, run: Run, device: torch.device) -> None:
    """What can be said of the device, and of the precision asked for, before the first step."""
    if device.type == "cpu" and torch.cuda.is_available():
        run.advise(
            AdviceKind.SLOW_TRAINING,
            observation="The run is on the processor although the machine has an accelerator.",
            remedies=("Leave resources.force_cpu unset.",),
            changes={"resources.force_cpu": False},
        )
    able = cpu_multiplies_bf16() if device.type == "cpu" else torch.cuda.is_bf16_supported()
    if precision == "fp32" and able and device.type == "cuda":
        run.advise(
            AdviceKind.SLOW_TRAINING,
            observation="The run computes in fp32 on a device that is much faster in bf16.",
            remedies=("Set precision to auto.",),
            changes={"hyperparameters.precision": "PRECISION_AUTO"},
        )


class TrainingWatch:
    """Follows losses and evaluations, and advises. Each kind is told once a job: `Curves` remembers.

    A recipe calls `stepped` with every training loss that it reads, `evaluated` with every validation loss,
    and `worked` with the seconds of its steps. Both the classifier's and the detector's losses do: what the
    task says for itself stands in the subject.
    """

    def __init__(self, subject: Subject, run: Run, *, losses: Curves) -> None:
        """`losses` belongs to the recipe, which saves it with its checkpoints."""
        self._subject = subject
        self._run = run
        self._losses = losses
        self._steps = 0
        self._loading_seconds = self._step_seconds = 0.0

    def worked(self, *, loading_seconds: float, step_seconds: float) -> None:
        """A step took so long, of which so long went into making its images."""
        self._steps += 1
        self._loading_seconds += loading_seconds
        self._step_seconds += step_seconds

    def stepped(self, loss: float) -> str | None:
        """A step's finite loss was read. Returns what shows that the training diverges, if it does."""
        self._losses.add(loss)
        return curves.divergence(self._losses, chance=self._subject.chance_loss or 0.0)

    @property
    def is_sound(self) -> bool:
        """Whether a checkpoint made now is worth going back to."""
        return curves.is_sound(self._losses, chance=self._subject.chance_loss or 0.0)

    def evaluated(self, loss: float) -> None:
        """The model was evaluated, with a finite loss."""
        losses, subject = self._losses, self._subject
        losses.evaluated(loss)
        if seen := curves.overfitting(losses.evaluations):
            self._advise(
                AdviceKind.OVERFITTING, seen, subject.overfitting_remedies, subject.overfitting_changes
            )
        found = curves.stall(
            losses,
            rate=subject.learning_rate,
            usual_rate=subject.usual_learning_rate,
            chance=subject.chance_loss,
        )
        if found:
            self._advise_on_stall(found)
        if seen := curves.starvation(
            loading_seconds=self._loading_seconds, step_seconds=self._step_seconds, steps=self._steps
        ):
            self._advise(AdviceKind.DATA_STARVED, seen, subject.starved_remedies, subject.starved_changes)

    def rolled_back(self, seen: str, *, step: int, rate: float) -> None:
        """The training diverged and goes on from `step` with `rate` as its peak learning rate."""
        where = f"the checkpoint of step {step}" if step else "the beginning"
        self._advise(
            AdviceKind.DIVERGING,
            f"{seen[0].upper()}{seen[1:]}. The run went back to {where}, and goes on with half the learning"
            " rate.",
            self._subject.diverging_remedies,
            {"hyperparameters.learning_rate": rate},
        )

    def _advise_on_stall(self, found: Stall) -> None:
        """The remedy for the cause that the curve speaks for, then the guide's others in its order."""
        rate, usual = self._subject.learning_rate, self._subject.usual_learning_rate
        remedies = {
            Cause.RATE_TOO_LOW: ("Raise the learning rate.",),
            Cause.RATE_TOO_HIGH: ("Lower the learning rate.",),
            Cause.DATA: (
                f"Clean the dataset: {self._findings()}",
                f"Check what the model sees: {FIRST_BATCH} shows the first batch with its labels.",
            ),
        }
        changes = {
            Cause.RATE_TOO_LOW: {"hyperparameters.learning_rate": max(rate * 3, usual)},
            Cause.RATE_TOO_HIGH: {"hyperparameters.learning_rate": min(rate / 3, usual)},
        }
        others = (remedy for cause, told in remedies.items() if cause is not found.cause for remedy in told)
        self._advise(
            AdviceKind.NOT_DECREASING,
            found.observation,
            (*remedies[found.cause], *(f"If that does not help: {other}" for other in others)),
            changes.get(found.cause, {}),
        )

    def _findings(self) -> str:
        """Where the dataset's findings are, and how many they are."""
        dataset = self._run.manifest()["dataset"] or {}
        name = dataset.get("name") or "NAME"
        counts = self._subject.report.counts
        serious = {
            code.value: counts[code.value]
            for code, advice in ADVICE.items()
            if counts.get(code.value) and advice.severity is not Severity.INFO
        }
        if not serious:
            return f"its check found nothing wrong, so look at the labels (`tuneyard datasets show {name}`)."
        most = sorted(serious, key=lambda code: -serious[code])[:_NAMED_CODES]
        told = ", ".join(f"{serious[code]} of {code}" for code in most)
        return f"`tuneyard datasets show {name}` lists {sum(serious.values())} findings ({told})."

    def _advise(
        self, kind: AdviceKind, seen: str, remedies: tuple[str, ...], changes: Mapping[str, object]
    ) -> None:
        if kind.value not in self._losses.told:
            self._losses.told.append(kind.value)
            self._run.advise(kind, observation=seen, remedies=remedies, changes=changes)
