"""The base models that are known by name: where they come from, at which revision, and how large they are.

Imports no torch and asks no network.
"""

import functools
from dataclasses import dataclass, field

from tuneyard.diffusion.known_facts import SD_1_5, SD_3, SDXL
from tuneyard.diffusion.pipeline_facts import PipelineFacts
from tuneyard.diffusion.recommended import recommended_spec
from tuneyard.diffusion.workload import sensible_devices
from tuneyard.trainer.hub_places import HubPlaces
from tuneyard.trainer.known_models import GATED, listed
from tuneyard.v1 import model_service_pb2, training_pb2

RECOMMENDED = "stable-diffusion-v1-5"
"""The smallest, for which most cards suffice."""


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownModel:
    """A base model of the catalogue."""

    id: str
    hub_id: str
    revision: str
    """A commit of the hub's repository."""
    license: str
    gated: bool = False
    """Whether its licence must be accepted on the hub before it can be fetched."""
    description: str
    facts: PipelineFacts = field(repr=False)


KNOWN = (
    KnownModel(
        id="stable-diffusion-v1-5",
        hub_id="stable-diffusion-v1-5/stable-diffusion-v1-5",
        revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
        license="CreativeML OpenRAIL-M",
        description="Stable Diffusion 1.5: 512 px, small and fast; the recommended start.",
        facts=SD_1_5,
    ),
    KnownModel(
        id="stable-diffusion-xl",
        hub_id="stabilityai/stable-diffusion-xl-base-1.0",
        revision="462165984030d82259a11f4367a4eed129e94a7b",
        license="CreativeML Open RAIL++-M",
        description="Stable Diffusion XL 1.0: 1024 px, finer and three times as large.",
        facts=SDXL,
    ),
    KnownModel(
        id="stable-diffusion-3-medium",
        hub_id="stabilityai/stable-diffusion-3-medium-diffusers",
        revision="ea42f8cef0f178587cf766dc8129abd379c90671",
        license="Stability AI Community License",
        gated=True,
        description="Stable Diffusion 3 Medium: 1024 px, a transformer that matches flows.",
        facts=SD_3,
    ),
)
_OTHER_NAMES = {
    "stable-diffusion-xl-base-1.0": "stable-diffusion-xl",
    "sdxl": "stable-diffusion-xl",
    "sd15": "stable-diffusion-v1-5",
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5",
}
"""Names that are much used; the last is where the weights were first, a repository that is gone."""
_BY_NAME = {name: known for known in KNOWN for name in (known.hub_id, known.id)}


def find(name: str) -> KnownModel | None:
    """The model of an id of the catalogue, or of a hub's id that an entry of it stands for."""
    return _BY_NAME.get(_OTHER_NAMES.get(name, name))


def base_models(places: HubPlaces | None = None) -> list[model_service_pb2.BaseModel]:
    """The catalogue, the recommended one first; `places` tells where the weights are."""
    return listed(KNOWN, places, entry=_entry)


@functools.cache
def _entry(known: KnownModel) -> model_service_pb2.BaseModel:
    minimum, recommended = sensible_devices(known.facts)
    return model_service_pb2.BaseModel(
        id=known.id,
        display_name=known.hub_id.partition("/")[2],
        family=training_pb2.FAMILY_DIFFUSION,
        tasks=[training_pb2.TASK_KIND_TEXT_TO_IMAGE_LORA],
        description=known.description + (GATED if known.gated else ""),
        parameter_count=known.facts.parameters,
        minimum_memory_bytes=minimum,
        recommended_memory_bytes=recommended,
        recommended=recommended_spec(known.id, known.facts),
        is_recommended=known.id == RECOMMENDED,
        availability=model_service_pb2.AVAILABILITY_FETCHABLE,
        revision=known.revision,
        license=known.license,
        hub_id=known.hub_id,
    )
