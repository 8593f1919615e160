"""What a detector's training is told to change: the settings of its task for the judgments of `advice`."""

import math
from collections import Counter

from tuneyard.datasets import Report
from tuneyard.datasets.words import counted
from tuneyard.recipes.watch import Subject
from tuneyard.trainer import curves
from tuneyard.trainer.run import AdviceKind, Run
from tuneyard.vision.advice import FIRST_BATCH
from tuneyard.vision.detector_config import DetectorConfig
from tuneyard.vision.detector_recommended import usual_learning_rate
from tuneyard.vision.detector_splits import DetectionSplits

_GUESSED_BOXES = 7.5 + 1.5 * math.log(16)
"""The loss of boxes that meet no object, with edges spread evenly over DFL's 16 places, by ultralytics' gains
for the two. A detector of random weights begins above it, unless hardly a box is assigned to an object yet:
with small images and few objects the loss is near zero for some steps, and then comes up to here."""


def detector_subject(config: DetectorConfig, report: Report) -> Subject:
    """The subject of a detector's training; remedies against overfitting stand in the guide's order."""
    strengths = config.augmentation
    more: dict[str, object] = {}
    if strengths.mixup < 0.1 and not config.rectangular:
        more["object_detector.augmentation.mixup"] = 0.1
    if not config.patience:
        more["early_stopping.patience"] = 10
    stopping = f"Early stopping is on, with a patience of {config.patience}: use a shorter one."
    return Subject(
        learning_rate=config.learning_rate,
        usual_learning_rate=usual_learning_rate(config.optimizer),
        least_start_loss=_GUESSED_BOXES,
        report=report,
        shown_in=f"{FIRST_BATCH} shows the first batch with its labels",
        overfitting_remedies=(
            f"Add more training data to the {counted(report.samples, 'image')} of the dataset.",
            "Use more augmentation: mixup, rotation, a stronger scale.",
            f"Reduce the model: a size smaller than {config.architecture}, or freeze_layers.",
            stopping if config.patience else "Use early stopping.",
        ),
        overfitting_changes=more,
        starved_remedies=(
            "Use a smaller image_size.",
            "Mix fewer images: lower mosaic and mixup.",
            "Prepare batches in more processes (hyperparameters.data_loader_workers).",
        ),
        starved_changes={},
        diverging_remedies=(
            "Lower the learning rate.",
            "Warm up longer.",
            *(() if config.max_grad_norm else ("Clip gradients: set max_grad_norm to 10.",)),
            *(("Use precision bf16 or fp32.",) if config.precision == "fp16" else ()),
        ),
    )


def advise_on_data(config: DetectorConfig, splits: DetectionSplits, run: Run) -> None:
    """What can be said before the first step."""
    boxes = Counter(box.label for sample in splits.train.samples for box in sample.boxes)
    counts = {name: boxes[number] for number, name in enumerate(splits.classes)}
    seen = curves.imbalance(counts, unit="training boxes")
    if seen and not (config.balance_classes or config.class_weights):
        run.advise(
            AdviceKind.CLASS_IMBALANCE,
            observation=seen,
            remedies=("Add images with the rare classes.", "Weight the loss: balance_classes."),
            changes={"object_detector.balance_classes": True},
            guide="best-practices",
        )
