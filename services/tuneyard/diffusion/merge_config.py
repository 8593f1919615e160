"""What a merge is asked to do: one frozen value, built once from the protobuf request."""

from dataclasses import dataclass

from tuneyard.diffusion.config import TextToImageConfig, text_to_image_config
from tuneyard.trainer.evaluate_config import training_request
from tuneyard.v1 import trainer_service_pb2


@dataclass(frozen=True, kw_only=True)
class MergeConfig:
    """One merge, resolved."""

    source_job: str
    """The job that trained the weights."""
    source: TextToImageConfig
    """As they were trained."""
    output_path: str = ""
    """Where the gateway puts the result, for the manifest; "" for the job's artifacts alone."""
    base_is_there: bool = True
    """Whether a base of the store is still in it."""


def merge_config(request: trainer_service_pb2.StartRunRequest) -> MergeConfig:
    """The settings of a run that merges a finished job's weights into their base."""
    source = text_to_image_config(training_request(request))
    return MergeConfig(
        source_job=request.spec.merge.source_job,
        source=source,
        output_path=request.spec.merge.output_path,
        base_is_there=request.HasField("model") or not source.base_model.startswith("models/"),
    )
