"""Which model of the store a job gets that names an architecture, an alias of the catalogue or a hub's id."""

from collections.abc import Iterable
from dataclasses import dataclass

from tuneyard.v1 import model_service_pb2


@dataclass(frozen=True, kw_only=True)
class WantedBase:
    """What a job calls its base model, where that is no name of the store."""

    name: str
    """"resnet50", "mistral-7b" or "org/name"."""
    hub_id: str = ""
    """Where the catalogue says that an alias comes from."""
    revision: str = ""
    """The only one that will do; "" for any."""
    pinned: str = ""
    """The catalogue's, which is preferred."""


def wanted_base(
    name: str, catalogue: Iterable[model_service_pb2.BaseModel], *, revision: str = ""
) -> WantedBase:
    """What a name means by the catalogue."""
    for known in catalogue:
        if known.hub_id and name in (known.id, known.hub_id):
            return WantedBase(name=name, hub_id=known.hub_id, revision=revision, pinned=known.revision)
    return WantedBase(name=name, hub_id=name if "/" in name else "", revision=revision)


def standing_for(
    wanted: WantedBase, ready: Iterable[model_service_pb2.Model]
) -> model_service_pb2.Model | None:
    """The model that stands for a name, of those that are READY, newest first; None if none does.

    For an architecture it is the model of the same id and architecture, models/resnet50 for "resnet50". For
    an alias it is the model of the same id, else one that was imported from the alias's place on the hub; for
    a hub's id one that was imported from there: at the pinned revision where there is one, else the newest.
    """
    ranked = [(_rank(wanted, model), model) for model in ready]
    best = max((rank for rank, _ in ranked), default=0)
    return next((model for rank, model in ranked if rank == best), None) if best else None


def _rank(wanted: WantedBase, model: model_service_pb2.Model) -> int:
    """How well a model stands for a name; 0 where it does not."""
    identifier = model.name.removeprefix("models/")
    if not wanted.hub_id:
        architecture = catalogue_id(wanted.name)
        return int(identifier == architecture == model.architecture)
    if wanted.revision and model.revision != wanted.revision:
        return 0
    if identifier == wanted.name:
        return 3
    if model.source != wanted.hub_id:
        return 0
    return 2 if wanted.pinned and model.revision == wanted.pinned else 1


def catalogue_id(base_model: str) -> str:
    """An architecture's name as the catalogue has it: "yolov8n" for "yolov8n.pt"."""
    return base_model.removesuffix(".pt").removesuffix(".yaml")
