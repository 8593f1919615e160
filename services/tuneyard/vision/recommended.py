"""The settings that are used where the caller sets none. Imports no torch; judges nothing (see `checks`)."""

from google.protobuf.message import Message

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
    if not (hyper.HasField("epochs") or hyper.HasField("max_steps")):
        hyper.epochs = DEFAULT_EPOCHS
    if not (hyper.HasField("warmup_steps") or hyper.HasField("warmup_ratio")):
        hyper.warmup_ratio = DEFAULT_WARMUP_RATIO
    hyper.schedule = hyper.schedule or training_pb2.LEARNING_RATE_SCHEDULE_COSINE
    hyper.precision = hyper.precision or training_pb2.PRECISION_AUTO
    hyper.optimizer = hyper.optimizer or training_pb2.OPTIMIZER_ADAMW
    sgd = hyper.optimizer == training_pb2.OPTIMIZER_SGD
    from_scratch = task.HasField("pretrained") and not task.pretrained
    _fill(
        hyper,
        batch_size=16,
        gradient_accumulation_steps=1,
        learning_rate=usual_learning_rate("sgd" if sgd else "adamw", from_scratch=from_scratch),
        weight_decay=1e-4 if sgd else 0.05,
        max_grad_norm=1.0,
    )
    if sgd:
        _fill(hyper, momentum=0.9)
    _fill(resolved, seed=0)
    _fill(resolved.resources, device_count=1)
    _fill(resolved.checkpoints, keep_last=2, keep_best=True)
    _fill(resolved.early_stopping, patience=0, min_delta=0.0)
    resolved.early_stopping.metric = resolved.early_stopping.metric or MAIN_METRIC
    _fill(resolved.data_split, validation_fraction=0.15)
    _fill(
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
        _fill(task, dropout=architecture.head_dropout)
    # Half of the area at least: the usual 0.08 is made for a million images, and loses small sets' objects.
    _fill(
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


def _fill(message: Message, **values: object) -> None:
    """Sets those optional fields that are not set."""
    for name, value in values.items():
        if not message.HasField(name):
            setattr(message, name, value)
