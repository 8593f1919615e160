"""The settings of a detector where the caller sets none. Imports no torch; judges nothing (see
`detector_checks`).
"""

from tuneyard.trainer.recommended import fill, fill_shared
from tuneyard.v1 import training_pb2

DEFAULT_EPOCHS = 100
DEFAULT_WARMUP_RATIO = 0.05
MAIN_METRIC = "eval/map50_95"
METRICS = ("eval/map50_95", "eval/map50", "eval/precision", "eval/recall", "eval/loss")


def resolve(spec: training_pb2.TrainingSpec) -> training_pb2.TrainingSpec:
    """A copy with every unset field filled in, but for those of which "unset" means "each epoch" or "all".

    Idempotent. Of two fields that exclude each other, a default is only given where neither is set.
    """
    resolved = training_pb2.TrainingSpec()
    resolved.CopyFrom(spec)
    hyper, task = resolved.hyperparameters, resolved.object_detector
    task.SetInParent()
    fill_shared(resolved, epochs=DEFAULT_EPOCHS, warmup_ratio=DEFAULT_WARMUP_RATIO, metric=MAIN_METRIC)
    sgd = hyper.optimizer == training_pb2.OPTIMIZER_SGD
    fill(
        hyper,
        batch_size=16,
        gradient_accumulation_steps=1,
        learning_rate=usual_learning_rate("sgd" if sgd else "adamw"),
        weight_decay=5e-4,
        # The loss is a sum over the batch, as ultralytics has it: its gradients are larger than a mean's.
        max_grad_norm=10.0,
    )
    fill(
        task,
        pretrained=True,
        image_size=640,
        freeze_layers=0,
        close_mosaic_epochs=10,
        rectangular=False,
        balance_classes=False,
    )
    # Strengths of ultralytics; batches of one aspect ratio and mosaics, which are square, exclude each other.
    fill(
        task.augmentation,
        hsv_h=0.015,
        hsv_s=0.7,
        hsv_v=0.4,
        degrees=0.0,
        translate=0.1,
        scale=0.5,
        shear=0.0,
        perspective=0.0,
        vertical_flip=0.0,
        horizontal_flip=0.5,
        mosaic=0.0 if task.rectangular else 1.0,
        mixup=0.0,
        copy_paste=0.0,
    )
    return resolved


def usual_learning_rate(optimizer: str) -> float:
    """The recommended peak rate of an optimizer, "adamw" or "sgd"."""
    return 1e-2 if optimizer == "sgd" else 1e-3


def recommended_spec(base_model: str) -> training_pb2.TrainingSpec:
    """The spec of a detector as it is where the caller names nothing but the base model."""
    return resolve(
        training_pb2.TrainingSpec(base_model=base_model, object_detector=training_pb2.ObjectDetector())
    )
