"""What torchvision's classification architectures are like, read from a table, so that no torch is needed.

`architectures.csv` is written by scripts/generate_architectures.py; nobody edits it.
"""

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import resources

RECOMMENDED = "resnet50"


@dataclass(frozen=True)
class Architecture:
    """One architecture with its recommended pretrained weights."""

    name: str
    parameters: int
    """Weights with a head of 1000 classes."""
    parameters_per_class: int
    """The head's weights for one class, with its bias where there is one."""
    multiply_adds: int
    """Of one forward pass at `weights_image_size`."""
    weights_image_size: int
    """The side in px at which the pretrained weights were evaluated."""
    minimum_size: int
    """The smallest side of an input in px."""
    size_multiple: int
    """What a side must be a multiple of."""
    activation_bytes: int
    """What a forward pass of one 224 px sample keeps for the backward pass at float32."""
    head_dropout: float
    has_batch_norm: bool
    can_checkpoint: bool
    """Whether gradient checkpointing works on it."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """The normalisation that the pretrained weights want, for values from 0 to 1."""
    weights: str
    """torchvision's name of the weights, such as IMAGENET1K_V2."""
    weights_file: str

    def parameters_for(self, classes: int) -> int:
        """Weights with a head of so many classes."""
        return self.parameters + (classes - 1000) * self.parameters_per_class

    def activation_bytes_at(self, image_size: int) -> int:
        """Per sample at float32; activations grow with the area."""
        return round(self.activation_bytes * (image_size / 224) ** 2)

    def multiply_adds_at(self, image_size: int) -> int:
        """Of one forward pass of one sample."""
        return round(self.multiply_adds * (image_size / self.weights_image_size) ** 2)


COLUMNS = tuple(field.name for field in fields(Architecture))


def to_row(architecture: Architecture) -> dict[str, str]:
    """The table's form of an architecture."""
    row = {name: str(getattr(architecture, name)) for name in COLUMNS}
    return row | {name: " ".join(map(str, getattr(architecture, name))) for name in ("mean", "std")}


def _from_row(row: Mapping[str, str]) -> Architecture:
    return Architecture(
        name=row["name"],
        parameters=int(row["parameters"]),
        parameters_per_class=int(row["parameters_per_class"]),
        multiply_adds=int(row["multiply_adds"]),
        weights_image_size=int(row["weights_image_size"]),
        minimum_size=int(row["minimum_size"]),
        size_multiple=int(row["size_multiple"]),
        activation_bytes=int(row["activation_bytes"]),
        head_dropout=float(row["head_dropout"]),
        has_batch_norm=row["has_batch_norm"] == "True",
        can_checkpoint=row["can_checkpoint"] == "True",
        mean=tuple(map(float, row["mean"].split())),
        std=tuple(map(float, row["std"].split())),
        weights=row["weights"],
        weights_file=row["weights_file"],
    )


@functools.cache
def architectures() -> Mapping[str, Architecture]:
    """Every architecture by name, in alphabetical order."""
    table = resources.files("tuneyard.vision").joinpath("architectures.csv")
    rows = csv.DictReader(table.read_text(encoding="utf-8").splitlines())
    return {row["name"]: _from_row(row) for row in rows}
