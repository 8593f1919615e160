"""Where the published weights of architectures are: on this machine, or to be fetched. Imports no torch."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tuneyard.v1 import errors_pb2, model_service_pb2, training_pb2
from tuneyard.vision.architectures import architectures
from tuneyard.vision.detector_architectures import architecture_name

DETECTOR_CACHE = "detector-weights"
"""The kind of entry in the trainer's cache that the detector's recipe keeps its weights under."""


@dataclass(frozen=True)
class WeightPlaces:
    """This machine's places of weights."""

    torch_hub: Path
    """The folder in which torch's hub keeps what it fetched."""
    trainer_cache: Path
    offline: bool
    """Whether nothing may be fetched."""

    @classmethod
    def of(cls, environment: Mapping[str, str], *, trainer_cache: Path, offline: bool) -> Self:
        """As torch's hub finds them; the environment is passed in."""
        cache = environment.get("XDG_CACHE_HOME") or "~/.cache"
        home = Path(environment.get("TORCH_HOME") or f"{cache}/torch").expanduser()
        return cls(home / "hub" / "checkpoints", trainer_cache, offline)

    def availability(self, name: str) -> "model_service_pb2.Availability.ValueType":
        """Of an architecture's weights: cached, fetchable, or to be imported."""
        if self._is_cached(name):
            return model_service_pb2.AVAILABILITY_CACHED
        if self.offline:
            return model_service_pb2.AVAILABILITY_IMPORT_NEEDED
        return model_service_pb2.AVAILABILITY_FETCHABLE

    def missing(self, resolved: training_pb2.TrainingSpec) -> errors_pb2.FieldViolation | None:
        """What is wrong where a job wants pretrained weights that cannot be had."""
        task = resolved.WhichOneof("task") or ""
        name = resolved.base_model
        if not getattr(resolved, task).pretrained:
            return None
        if self.availability(name) != model_service_pb2.AVAILABILITY_IMPORT_NEEDED:
            return None
        return errors_pb2.FieldViolation(
            field="spec.base_model",
            description=(
                f"The pretrained weights of {name} are neither in the store nor on the trainer's machine,"
                " which is set to work offline. Import them, `tuneyard models import FILE --name"
                f" {architecture_name(name) or name}`, or set {task}.pretrained to false to begin with random"
                " weights."
            ),
        )

    def _is_cached(self, name: str) -> bool:
        if architecture := architectures().get(name):
            return (self.torch_hub / architecture.weights_file).is_file()
        if detector := architecture_name(name):
            digest = hashlib.sha256(f"{detector}.pt".encode()).hexdigest()
            return (self.trainer_cache / DETECTOR_CACHE / digest / "complete.json").is_file()
        return False
