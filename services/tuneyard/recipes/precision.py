"""What devices do well: the arithmetic of a run, as far as the device alone decides it."""

import functools
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal, cast

import torch

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


@functools.cache
def cpu_multiplies_bf16() -> bool:
    """Whether the processor has bfloat16 matrix or dot products; without them bf16 is emulated and slow."""
    flags = _cpu_info("flags").split()
    return bool({"amx_bf16", "avx512_bf16", "bf16"} & {*flags, *_cpu_info("Features").split()})


def cpu_model() -> str:
    """The processor's name, on which measurements depend."""
    return _cpu_info("model name") or os.uname().machine


@functools.cache
def _cpu_info(field: str) -> str:
    """The first processor's entry of a field; empty where the system tells nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")
