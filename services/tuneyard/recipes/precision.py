"""What devices do well: the arithmetic of a run, as far as the device alone decides it."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, cast

import torch

from tuneyard.trainer.processor import cpu_model, cpu_multiplies_bf16

__all__ = ["Precision", "autocast", "cpu_model", "cpu_multiplies_bf16", "precision_of_cuda"]

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
