"""What an evaluation is asked to do: one frozen value, built once from the protobuf request."""

from dataclasses import dataclass
from typing import Literal, cast

from tuneyard.v1 import trainer_service_pb2

SplitName = Literal["test", "val", "train"]


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """One evaluation, resolved."""

    source_job: str
    """The job that trained the model."""
    dataset: str
    split: SplitName
    is_own_dataset: bool
    """Whether the model was trained on this dataset: then "val" and "train" are the job's own samples."""
    validation_dataset: str = ""
    """The dataset that the training validated on, where it was one of its own."""
    compare_with_base: bool = True
    clip_model: str = ""
    """The model of the store that scores pictures; "" for none."""


def evaluate_config(request: trainer_service_pb2.StartRunRequest) -> EvaluateConfig:
    """The settings of a run that evaluates a finished job's model."""
    spec, training = request.spec.evaluate, request.source_spec.training
    return EvaluateConfig(
        source_job=spec.source_job,
        dataset=spec.dataset,
        split=cast(SplitName, spec.split),
        is_own_dataset=spec.dataset == training.dataset,
        validation_dataset=training.data_split.validation_dataset,
        compare_with_base=spec.compare_with_base,
        clip_model=spec.clip_model,
    )


def training_request(request: trainer_service_pb2.StartRunRequest) -> trainer_service_pb2.StartRunRequest:
    """The request of the source job's training as far as its settings depend on it."""
    return trainer_service_pb2.StartRunRequest(spec=request.source_spec, model=request.model)
