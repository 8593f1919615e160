"""Which model of the store a job gets whose base model is no name of the store ("models/…")."""

from collections.abc import Iterable
from dataclasses import dataclass

from tuneyard.v1 import model_service_pb2, training_pb2

# How well a model stands for a name, best first.
_BY_ID, _PINNED, _OTHER_REVISION, _BY_TITLE = 4, 3, 2, 1


@dataclass(frozen=True, kw_only=True)
class WantedBase:
    """What a job calls its base model, where that is no name of the store."""

    name: str
    """"resnet50", "mistral-7b", "org/name" or what somebody calls a model that was imported."""
    task: "training_pb2.TaskKind.ValueType" = training_pb2.TASK_KIND_UNSPECIFIED
    """What it is to be trained for."""
    in_catalogue: bool = False
    hub_id: str = ""
    """Where the catalogue says that an alias comes from."""
    revision: str = ""
    """The only one that will do; "" for any."""
    pinned: str = ""
    """The catalogue's, which is preferred."""


def wanted_base(
    name: str,
    catalogue: Iterable[model_service_pb2.BaseModel],
    *,
    revision: str = "",
    task: "training_pb2.TaskKind.ValueType" = training_pb2.TASK_KIND_UNSPECIFIED,
) -> WantedBase:
    """What a name means by the catalogue."""
    hub_id, pinned, in_catalogue = name if "/" in name else "", "", False
    for known in catalogue:
        if known.hub_id and name in (known.id, known.hub_id):
            hub_id, pinned = known.hub_id, known.revision
        in_catalogue = in_catalogue or catalogue_id(name) in (known.id, known.hub_id)
    return WantedBase(
        name=name, task=task, in_catalogue=in_catalogue, hub_id=hub_id, revision=revision, pinned=pinned
    )


def standing_for(
    wanted: WantedBase, ready: Iterable[model_service_pb2.Model]
) -> model_service_pb2.Model | None:
    """The model that stands for a name, of those that are READY, newest first; None if none does.

    For an architecture it is the model of the same id and architecture, models/resnet50 for "resnet50". For
    an alias it is the model of the same id, else one that was imported from the alias's place on the hub; for
    a hub's id one that was imported from there: at the pinned revision where there is one, else the newest.
    A name of none of these is a model's id, or the title that one model alone has.
    """
    ranked = [(_rank(wanted, model), model) for model in ready]
    best = max((rank for rank, _ in ranked), default=0)
    if not best:
        return None
    found = [model for rank, model in ranked if rank == best]
    return None if best == _BY_TITLE and len(found) > 1 else found[0]


def _rank(wanted: WantedBase, model: model_service_pb2.Model) -> int:
    """How well a model stands for a name; 0 where it does not."""
    identifier = model.name.removeprefix("models/")
    if not wanted.hub_id and identifier == catalogue_id(wanted.name) == model.architecture:
        return _BY_ID
    if wanted.revision and model.revision != wanted.revision:
        return 0
    if wanted.hub_id:
        if identifier == wanted.name:
            return _BY_ID
        if model.source != wanted.hub_id:
            return 0
        return _PINNED if wanted.pinned and model.revision == wanted.pinned else _OTHER_REVISION
    if wanted.in_catalogue or (wanted.task and model.tasks and wanted.task not in model.tasks):
        return 0
    if identifier == wanted.name:
        return _BY_ID
    return _BY_TITLE if model.display_name == wanted.name else 0


def catalogue_id(base_model: str) -> str:
    """An architecture's name as the catalogue has it: "yolov8n" for "yolov8n.pt"."""
    return base_model.removesuffix(".pt").removesuffix(".yaml")
