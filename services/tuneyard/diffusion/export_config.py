"""What an export is asked to do: one frozen value, built once from the protobuf request."""

from dataclasses import dataclass
from typing import Literal

from tuneyard.trainer.errors import RecipeError
from tuneyard.v1 import job_pb2, trainer_service_pb2

FormatName = Literal["diffusers", "kohya"]

_FORMATS: dict[int, FormatName] = {
    job_pb2.EXPORT_FORMAT_SAFETENSORS: "diffusers",
    job_pb2.EXPORT_FORMAT_ADAPTER: "diffusers",
    job_pb2.EXPORT_FORMAT_KOHYA: "kohya",
}


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """One export, resolved."""

    source_job: str
    """The job that trained the weights."""
    format: FormatName


def export_config(request: trainer_service_pb2.StartRunRequest) -> ExportConfig:
    """The settings of a run that hands out a finished job's weights. RecipeError NOT_SUPPORTED."""
    spec = request.spec.export
    if spec.format not in _FORMATS:
        raise RecipeError(
            "LoRA weights are exported as an adapter (safetensors, for diffusers) or for kohya's scripts.",
            reason="NOT_SUPPORTED",
        )
    return ExportConfig(source_job=spec.source_job, format=_FORMATS[spec.format])
