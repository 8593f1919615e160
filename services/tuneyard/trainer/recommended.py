"""What is recommended whatever is trained, where the caller sets nothing. Imports no torch, judges nothing.

What depends on a task or its base model its family recommends.
"""

from google.protobuf.message import Message

from tuneyard.v1 import training_pb2


def fill(message: Message, **values: object) -> None:
    """Sets those optional fields that are not set."""
    for name, value in values.items():
        if not message.HasField(name):
            setattr(message, name, value)


def fill_shared(
    resolved: training_pb2.TrainingSpec, *, epochs: int, warmup_ratio: float, metric: str
) -> None:
    """Sets what no task gives a meaning of its own; `metric` is watched for early stopping and the best.

    Of two fields that exclude each other, a default is only given where neither is set.
    """
    hyper = resolved.hyperparameters
    if not (hyper.HasField("epochs") or hyper.HasField("max_steps")):
        hyper.epochs = epochs
    if not (hyper.HasField("warmup_steps") or hyper.HasField("warmup_ratio")):
        hyper.warmup_ratio = warmup_ratio
    hyper.schedule = hyper.schedule or training_pb2.LEARNING_RATE_SCHEDULE_COSINE
    hyper.precision = hyper.precision or training_pb2.PRECISION_AUTO
    hyper.optimizer = hyper.optimizer or training_pb2.OPTIMIZER_ADAMW
    if hyper.optimizer == training_pb2.OPTIMIZER_SGD:
        fill(hyper, momentum=0.9)
    fill(resolved, seed=0)
    fill(resolved.resources, device_count=1)
    fill(resolved.checkpoints, keep_last=2, keep_best=True)
    fill(resolved.early_stopping, patience=0, min_delta=0.0)
    resolved.early_stopping.metric = resolved.early_stopping.metric or metric
    fill(resolved.data_split, validation_fraction=0.15)


def fill_batch(hyper: training_pb2.Hyperparameters, *, batch_size: int, effective: int) -> None:
    """Sets a micro-batch that is recommended, and as many as make an effective batch.

    Where the caller gives one of the two, the other keeps the effective batch near to the recommended one.
    """
    if hyper.HasField("batch_size"):
        fill(hyper, gradient_accumulation_steps=max(1, round(effective / hyper.batch_size)))
    elif hyper.HasField("gradient_accumulation_steps"):
        wanted = round(effective / hyper.gradient_accumulation_steps)
        hyper.batch_size = min(batch_size, max(1, wanted))
    else:
        hyper.batch_size = batch_size
        hyper.gradient_accumulation_steps = effective // batch_size
