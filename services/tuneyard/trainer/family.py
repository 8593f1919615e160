"""What a family of models gives its trainer, all of it torch-free: recipes are named, not imported."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tuneyard.v1.model_service_pb2 import BaseModel
from tuneyard.v1.system_pb2 import Device
from tuneyard.v1.trainer_service_pb2 import TrainerServiceEstimateRequest, TrainerServiceEstimateResponse
from tuneyard.v1.training_pb2 import Family, TaskKind


@dataclass(frozen=True, kw_only=True)
class TrainerFamily:
    """A family: which jobs it takes, and where its recipes are."""

    family: "Family.ValueType"
    entry: str
    """The module with `PRELOAD`, names of modules to import ahead, and `execute(request, run)`; it may have
    `out_of_memory_remedies(request)`, which are told instead of the guide's."""
    tasks: "tuple[TaskKind.ValueType, ...]"
    estimate: Callable[[TrainerServiceEstimateRequest, Sequence[Device]], TrainerServiceEstimateResponse]
    """Resolves a spec and predicts what it needs on one of the devices; called in a thread."""
    base_models: Callable[[], Sequence[BaseModel]]
    """The catalogue; asked anew for each answer, since weights may have been fetched meanwhile."""
    methods: tuple[str, ...] = ()
    """The methods of the inference service that its finished models answer, such as "Classify"; with any, the
    entry has `open_model`, as `finished_model` describes it."""
    previews: bool = False
    """Whether the entry has `preview(request, inputs)`, as `preview_worker` describes it."""
    convert: str = ""
    """The module with `convert(files)` for imported models; "" if their files are taken as they are."""
