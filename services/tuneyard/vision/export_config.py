"""What an export is asked to do: one frozen value, built once from the protobuf request."""

from dataclasses import dataclass
from typing import Literal, cast

from tuneyard.trainer.derived import export_word
from tuneyard.v1 import trainer_service_pb2

FormatName = Literal["safetensors", "onnx", "openvino", "torchscript", "ultralytics"]

_LARGEST_DATASET_BYTES = 4 << 30


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """One export, resolved."""

    source_job: str
    """The job that trained the model."""
    format: FormatName
    dataset: str = ""
    """The dataset whose samples the converted model is tried on; "" where it is gone, or so large that
    fetching it for a few samples is not worth it.
    """


def export_config(request: trainer_service_pb2.StartRunRequest) -> ExportConfig:
    """The settings of a run that converts a finished job's model."""
    spec = request.spec.export
    fits = 0 < request.dataset.size_bytes <= _LARGEST_DATASET_BYTES
    return ExportConfig(
        source_job=spec.source_job,
        format=cast(FormatName, export_word(spec.format)),
        dataset=request.dataset.name if fits else "",
    )
