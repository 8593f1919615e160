"""What every recipe's config takes from a resolved TrainingSpec in the same way, by the names of its fields.

The fields and their defaults stand in each config, where a recipe is read. Imports no torch.
"""

from typing import Literal, TypedDict

from tuneyard.v1 import training_pb2

ScheduleName = Literal["cosine", "linear", "constant"]
PrecisionName = Literal["auto", "bf16", "fp16", "fp32"]

_SCHEDULES: dict[int, ScheduleName] = {
    training_pb2.LEARNING_RATE_SCHEDULE_COSINE: "cosine",
    training_pb2.LEARNING_RATE_SCHEDULE_LINEAR: "linear",
    training_pb2.LEARNING_RATE_SCHEDULE_CONSTANT: "constant",
}
_PRECISIONS: dict[int, PrecisionName] = {
    training_pb2.PRECISION_AUTO: "auto",
    training_pb2.PRECISION_BF16: "bf16",
    training_pb2.PRECISION_FP16: "fp16",
    training_pb2.PRECISION_FP32: "fp32",
}


class SharedSettings(TypedDict):
    """Arguments of any recipe's config; None stands where "unset" has a meaning of its own."""

    base_model: str
    epochs: int | None
    max_steps: int | None
    batch_size: int
    gradient_accumulation_steps: int
    learning_rate: float
    momentum: float
    weight_decay: float
    max_grad_norm: float
    schedule: ScheduleName
    warmup_steps: int | None
    warmup_ratio: float
    precision: PrecisionName
    eval_steps: int | None
    save_steps: int | None
    patience: int
    watched_metric: str
    min_delta: float
    validation_fraction: float
    max_train_samples: int | None
    seed: int


def shared_settings(spec: training_pb2.TrainingSpec) -> SharedSettings:
    """The settings that no task gives a meaning of its own. `spec` is resolved."""
    hyper, split, checkpoints = spec.hyperparameters, spec.data_split, spec.checkpoints
    return SharedSettings(
        base_model=spec.base_model,
        epochs=hyper.epochs if hyper.HasField("epochs") else None,
        max_steps=hyper.max_steps if hyper.HasField("max_steps") else None,
        batch_size=hyper.batch_size,
        gradient_accumulation_steps=hyper.gradient_accumulation_steps,
        learning_rate=hyper.learning_rate,
        momentum=hyper.momentum,
        weight_decay=hyper.weight_decay,
        max_grad_norm=hyper.max_grad_norm,
        schedule=_SCHEDULES[hyper.schedule],
        warmup_steps=hyper.warmup_steps if hyper.HasField("warmup_steps") else None,
        warmup_ratio=hyper.warmup_ratio,
        precision=_PRECISIONS[hyper.precision],
        eval_steps=hyper.eval_steps if hyper.HasField("eval_steps") else None,
        save_steps=checkpoints.save_steps if checkpoints.HasField("save_steps") else None,
        patience=spec.early_stopping.patience,
        watched_metric=spec.early_stopping.metric,
        min_delta=spec.early_stopping.min_delta,
        validation_fraction=split.validation_fraction,
        max_train_samples=split.max_train_samples if split.HasField("max_train_samples") else None,
        seed=spec.seed,
    )
