"""What this machine's processor is and does well, as the system tells it. Imports no torch."""

import functools
import os
from pathlib import Path


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
