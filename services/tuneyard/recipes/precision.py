"""What devices do well: the arithmetic of a run, as far as the device alone decides it."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, cast

import torch

from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.processor import cpu_model, cpu_multiplies_bf16
from tuneyard.trainer.run import Run

__all__ = [
    "Precision",
    "autocast",
    "choose_precision",
    "cpu_model",
    "cpu_multiplies_bf16",
    "precision_of_cuda",
]

Precision = Literal["bf16", "fp16", "fp32"]

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """The context of forward passes in this precision."""
    if precision == "fp32":
        return nullcontext()
    context = torch.autocast(device.type, dtype=_TYPES[precision])
    return cast(AbstractContextManager[None], context)


def precision_of_cuda(device: torch.device) -> Precision:
    """The fastest precision that an accelerator does well, by its generation."""
    major, _ = torch.cuda.get_device_capability(device)
    if major >= 8:
        return "bf16"
    return "fp16" if major >= 7 else "fp32"


def choose_precision(named: str, device: torch.device, run: Run) -> Precision:
    """The precision of a run that begins: as named, or where that is "auto" the fastest that the device does
    well without measuring.

    Raises RecipeError INVALID_FIELD for fp16 on the processor, which computes parts of it in fp32 and slowly.
    """
    if named == "fp16" and device.type == "cpu":
        raise RecipeError(
            "spec.hyperparameters.precision: fp16 needs an accelerator, and this run has the processor only.",
            reason="INVALID_FIELD",
            remedies=("Set precision to auto, bf16 or fp32.",),
        )
    if named == "auto":
        if device.type == "cuda":
            return precision_of_cuda(device)
        return "bf16" if cpu_multiplies_bf16() else "fp32"
    if named == "bf16" and device.type == "cpu" and not cpu_multiplies_bf16():
        run.warn("slow_precision", "This processor has no bf16 arithmetic: it is emulated, and slow.")
    return cast(Precision, named)
