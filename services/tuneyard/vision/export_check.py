"""Proves that a converted model computes what the original computes, and records by how much it differs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tuneyard.trainer.errors import RecipeError

RELATIVE_TOLERANCE = 1e-4
"""Of the largest output, or of 1 where all are smaller: rounding of another order of sums, and no more."""

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class CheckInputs:
    """Inputs as the network takes them, (n, 3, side, side), and where they are from."""

    images: Tensor
    source: str


@dataclass(frozen=True)
class Check:
    """A passed comparison, for the manifest."""

    inputs: int
    input_source: str
    batch_sizes: tuple[int, ...]
    max_abs_difference: float
    largest_output: float
    tolerance: float

    @property
    def facts(self) -> dict[str, Any]:
        """The values by name."""
        return {
            "inputs": self.inputs,
            "input_source": self.input_source,
            "batch_sizes": list(self.batch_sizes),
            "max_abs_difference": self.max_abs_difference,
            "largest_output": self.largest_output,
            "tolerance": self.tolerance,
        }

    @property
    def summary(self) -> str:
        """One sentence for people."""
        return (
            f"On {self.inputs} {self.input_source} its outputs differ by at most"
            f" {self.max_abs_difference:.1e} (allowed: {self.tolerance:.1e})."
        )


@torch.inference_mode()
def check(original: Forward, converted: Forward, inputs: CheckInputs, *, format: str) -> Check:
    """Compares the outputs on all inputs at once and on the first alone.

    Raises RecipeError RECIPE_FAILED where they differ by more than rounding, or the original's are no finite
    numbers.
    """
    sizes = sorted({1, len(inputs.images)})
    difference = largest = 0.0
    for size in sizes:
        batch = inputs.images[:size]
        expected = original(batch)
        if not bool(expected.isfinite().all()):
            raise _no_numbers(inputs)
        found = converted(batch)
        if expected.shape != found.shape or not bool(found.isfinite().all()):
            raise _differs(format, f"gives {tuple(found.shape)} values that are not those of the original")
        difference = max(difference, (expected - found).abs().max().item())
        largest = max(largest, expected.abs().max().item())
    tolerance = RELATIVE_TOLERANCE * max(1.0, largest)
    if difference > tolerance:
        raise _differs(format, f"differs from the original by {difference:.2e}, more than {tolerance:.1e}")
    return Check(len(inputs.images), inputs.source, tuple(sizes), difference, largest, tolerance)


def noise(*, count: int, image_size: int) -> CheckInputs:
    """Inputs where no real ones are to be had."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, image_size, image_size, generator=generator)
    return CheckInputs(images, "generated inputs (the training's dataset is not at hand)")


def _no_numbers(inputs: CheckInputs) -> RecipeError:
    return RecipeError(
        f"The trained model itself gives values that are no finite numbers for {inputs.source}: it is of no"
        " use in any format.",
        remedies=(
            "Train again with a lower learning rate, and export that job.",
            "Look at the job's metrics: where its loss stopped being a number, its weights did.",
        ),
    )


def _differs(format: str, what: str) -> RecipeError:
    return RecipeError(
        f"The {format} model {what}; it is not kept.",
        remedies=("Export to another format, such as safetensors.",),
    )


def spread(count: int, wanted: int) -> Sequence[int]:
    """Positions evenly spread over `count` samples."""
    step = max(1, count // wanted)
    return range(0, count, step)[:wanted]
