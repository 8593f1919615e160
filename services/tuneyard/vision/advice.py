"""What a classifier's advice says: its settings as remedies, and what its data tell before the first step."""

import math

from tuneyard.datasets import Report
from tuneyard.datasets.words import counted
from tuneyard.recipes.watch import Subject
from tuneyard.trainer import curves
from tuneyard.trainer.run import AdviceKind, Run
from tuneyard.vision.config import ClassifierConfig
from tuneyard.vision.recommended import usual_learning_rate
from tuneyard.vision.splits import Splits

FIRST_BATCH = "samples/first-batch.png"
"""The artifact that shows the first images as the model saw them."""


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
        shown_in=f"{FIRST_BATCH} shows the first batch with its labels",
        overfitting_remedies=(
            f"Add more training data to the {counted(report.samples, 'sample')} of the dataset.",
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
