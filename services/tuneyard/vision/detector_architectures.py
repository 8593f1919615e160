"""The detectors that can be trained: names, and which of ultralytics' own files describes each.

An allow-list, because a configuration of somebody else's may hold code. Imports no torch or ultralytics.
"""

from dataclasses import dataclass
from importlib.util import find_spec

HAS_DETECTORS = find_spec("ultralytics") is not None
"""Whether ultralytics, an extra of its own, is installed."""
RECOMMENDED = "yolov8n"


@dataclass(frozen=True)
class DetectorArchitecture:
    """One size of a family."""

    name: str
    """As users write it: "yolov8n"."""
    family: str
    file: str
    """Of the family's or the size's description, below the package's models."""
    scale: str
    """The size's letter, by which a description shared by a family is scaled."""


@dataclass(frozen=True)
class _Family:
    name: str
    folder: str
    sizes: str
    shared_file: bool


_FAMILIES = (
    _Family("yolov8", "v8", "nsmlx", shared_file=True),
    _Family("yolov9", "v9", "tsmce", shared_file=False),
    _Family("yolov10", "v10", "nsmblx", shared_file=False),
    _Family("yolo11", "11", "nsmlx", shared_file=True),
    _Family("yolo12", "12", "nsmlx", shared_file=True),
    _Family("yolo26", "26", "nsmlx", shared_file=True),
)


def _members(family: _Family) -> list[DetectorArchitecture]:
    return [
        DetectorArchitecture(
            name=family.name + size,
            family=family.name,
            file=f"{family.folder}/{family.name}{'' if family.shared_file else size}.yaml",
            scale=size,
        )
        for size in family.sizes
    ]


DETECTOR_ARCHITECTURES = {
    architecture.name: architecture for family in _FAMILIES for architecture in _members(family)
}
"""By name; families in the order of their age, sizes from small to large."""


def architecture_name(base_model: str) -> str | None:
    """The architecture that a user means, or None: "yolov8n", "yolov8n.pt" and "yolov8n.yaml" are one.

    "yolov11n" and its like are known too: the families after version 10 lost their v.
    """
    name = base_model.lower().removesuffix(".pt").removesuffix(".yaml")
    if name in DETECTOR_ARCHITECTURES:
        return name
    without = name.replace("yolov", "yolo", 1)
    return without if without in DETECTOR_ARCHITECTURES else None
