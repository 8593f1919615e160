"""What the families' catalogues of models from a hub have in common. Imports no torch and asks no network.

Which models are known, and what each needs, its family says.
"""

from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeVar

from tuneyard.trainer.estimates import Violation, violation
from tuneyard.trainer.hub_places import HubPlaces
from tuneyard.v1.model_service_pb2 import BaseModel

GATED: Final = " Its licence must be accepted on the hub before it can be fetched or imported from there."
"""What the description of a gated model ends with."""


class KnownModel(Protocol):
    """A model of a catalogue."""

    @property
    def id(self) -> str:
        """Its name in the catalogue."""
        ...

    @property
    def hub_id(self) -> str:
        """The hub's name of it."""
        ...

    @property
    def revision(self) -> str:
        """A commit of the hub's repository; "" where none is pinned."""
        ...

    @property
    def gated(self) -> bool:
        """Whether its licence must be accepted on the hub before it can be fetched."""
        ...


Known = TypeVar("Known", bound=KnownModel)


def listed(
    catalogue: Iterable[Known],
    places: HubPlaces | None,
    *,
    entry: Callable[[Known], BaseModel],
) -> list[BaseModel]:
    """A copy of each model's entry, in the catalogue's order; `places` tells where the weights are."""
    models = []
    for known in catalogue:
        model = BaseModel()
        model.CopyFrom(entry(known))
        if places:
            model.availability = places.availability(known.hub_id, known.revision, gated=known.gated)
        models.append(model)
    return models


def missing(known: KnownModel, revision: str, places: HubPlaces) -> Violation | None:
    """What is wrong where a base model of the catalogue cannot be had at a revision."""
    if places.can_be_had(known.hub_id, revision, gated=known.gated):
        return None
    why = (
        "and the trainer is set to work offline"
        if places.offline
        else "its licence has to be accepted on the hub, and the trainer has no token of an account that did"
    )
    return violation(
        "base_model",
        f"{known.hub_id} is neither in the store nor on the trainer's machine, {why}. Where it can be"
        f" fetched, import it: `tuneyard models import {known.id}`; else download its files where that is"
        f" possible, and import the folder: `tuneyard models import FOLDER --name {known.id}`.",
    )
