"""What ultralytics' detectors weigh, read from a table, so that neither torch nor ultralytics is needed.

`detector_sizes.csv` is written by scripts/generate_detector_sizes.py; nobody edits it.
"""

import csv
import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib import resources

REFERENCE_SIZE = 640
"""The side in px at which the table was measured."""
REFERENCE_CLASSES = 80


@dataclass(frozen=True)
class DetectorSize:
    """One architecture with a head of 80 classes; other numbers of classes change little."""

    name: str
    parameters: int
    multiply_adds: int
    """Of one forward pass of a 640 px sample."""
    activation_bytes: int
    """What a forward pass of one 640 px sample keeps for the backward pass at float32."""
    layers: int
    """How many can be frozen, one after the other."""

    def activation_bytes_at(self, image_size: int) -> int:
        """Per sample at float32; activations grow with the area."""
        return round(self.activation_bytes * (image_size / REFERENCE_SIZE) ** 2)

    def multiply_adds_at(self, image_size: int) -> int:
        """Of one forward pass of one sample."""
        return round(self.multiply_adds * (image_size / REFERENCE_SIZE) ** 2)


COLUMNS = tuple(field.name for field in fields(DetectorSize))


def to_row(size: DetectorSize) -> dict[str, str]:
    """The table's form."""
    return {name: str(value) for name, value in asdict(size).items()}


@functools.cache
def detector_sizes() -> Mapping[str, DetectorSize]:
    """By architecture, in the order of the table."""
    table = resources.files("tuneyard.vision").joinpath("detector_sizes.csv")
    rows = csv.DictReader(table.read_text(encoding="utf-8").splitlines())
    return {row["name"]: DetectorSize(row["name"], *(int(row[name]) for name in COLUMNS[1:])) for row in rows}
