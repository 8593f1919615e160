"""What a merge is asked to do: one frozen value, built once from the protobuf request."""

from dataclasses import dataclass

from tuneyard.llm.config import LanguageModelConfig, language_model_config
from tuneyard.trainer.evaluate_config import training_request
from tuneyard.v1 import trainer_service_pb2

_LARGEST_DATASET_BYTES = 4 << 30


@dataclass(frozen=True, kw_only=True)
class MergeConfig:
    """One merge, resolved."""

    source_job: str
    """The job that trained the adapter."""
    source: LanguageModelConfig
    """As the adapter was trained."""
    output_path: str = ""
    """Where the gateway puts the result, for the manifest; "" for the job's artifacts alone."""
    dataset: str = ""
    """The dataset whose held-out samples the merged model is proved on; "" where it is gone, or so large that
    fetching it for a few samples is not worth it.
    """
    base_is_there: bool = True
    """Whether a base of the store is still in it."""


def merge_config(request: trainer_service_pb2.StartRunRequest) -> MergeConfig:
    """The settings of a run that merges a finished job's adapter into its base."""
    source = language_model_config(training_request(request))
    fits = 0 < request.dataset.size_bytes <= _LARGEST_DATASET_BYTES
    return MergeConfig(
        source_job=request.spec.merge.source_job,
        source=source,
        output_path=request.spec.merge.output_path,
        dataset=request.dataset.name if fits else "",
        base_is_there=request.HasField("model") or not source.base_model.startswith("models/"),
    )
