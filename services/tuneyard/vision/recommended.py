"""The settings that are used where the caller sets none. Imports no torch; judges nothing (see `checks`)."""

from tuneyard.trainer.recommended import fill, fill_shared
from tuneyard.v1 import training_pb2
from tuneyard.vision.architectures import architectures

DEFAULT_EPOCHS = 15
DEFAULT_WARMUP_RATIO = 0.05
FEW_SAMPLES = 100
"""Of a class; with fewer, the dataset's report recommends augmentation."""
_STRONG_RANDAUGMENT = 9
MAIN_METRIC = "eval/accuracy_top1"
TOP5_METRIC = "eval/accuracy_top5"
METRICS = ("eval/accuracy_top1", TOP5_METRIC, "eval/loss")


def resolve(spec: training_pb2.TrainingSpec, *, few_samples: bool = False) -> training_pb2.TrainingSpec:
    """A copy with every unset field filled in, but for those of which "unset" means "each epoch" or "all".

    `few_samples` says that some class has fewer than FEW_SAMPLES: images are then varied more.
    Idempotent. Of two fields that exclude each other, a default is only given where neither is set.
    """
    resolved = training_pb2.TrainingSpec()
    resolved.CopyFrom(spec)
    hyper, task = resolved.hyperparameters, resolved.image_classifier
    task.SetInParent()
    fill_shared(resolved, epochs=DEFAULT_EPOCHS, warmup_ratio=DEFAULT_WARMUP_RATIO, metric=MAIN_METRIC)
    sgd = hyper.optimizer == training_pb2.OPTIMIZER_SGD
    from_scratch = task.HasField("pretrained") and not task.pretrained
    fill(
        hyper,
        batch_size=16,
        gradient_accumulation_steps=1,
        learning_rate=usual_learning_rate("sgd" if sgd else "adamw", from_scratch=from_scratch),
        weight_decay=1e-4 if sgd else 0.05,
        max_grad_norm=1.0,
    )
    fill(
        task,
        pretrained=True,
        image_size=224,
        freeze_backbone=False,
        label_smoothing=0.0,
        balance_classes=False,
        ema_decay=0.0,
        gradient_checkpointing=False,
    )
    if architecture := architectures().get(resolved.base_model):
        fill(task, dropout=architecture.head_dropout)
    # Half of the area at least: the usual 0.08 is made for a million images, and loses small sets' objects.
    fill(
        task.augmentation,
        crop_min_scale=0.5,
        horizontal_flip=0.5,
        randaugment_magnitude=_STRONG_RANDAUGMENT if few_samples else 0,
        mixup_alpha=0.0,
        cutmix_alpha=0.0,
    )
    return resolved


def usual_learning_rate(optimizer: str, *, from_scratch: bool = False) -> float:
    """The recommended peak rate of an optimizer, "adamw" or "sgd".

    With momentum, plain gradients want steps about a hundred times as large as Adam's scaled ones. Random
    weights want the upper end of Adam's usual range, at whose lower end pretrained ones are kept.
    """
    if optimizer == "sgd":
        return 1e-2
    return 1e-3 if from_scratch else 1e-4


def recommended_spec(base_model: str) -> training_pb2.TrainingSpec:
    """The spec of a classifier as it is where the caller names nothing but the base model."""
    return resolve(training_pb2.TrainingSpec(base_model=base_model))
