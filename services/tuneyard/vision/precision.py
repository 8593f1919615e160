"""Which arithmetic a run uses: what was asked for, or the fastest that the device does well, by measurement.

Decided once in a job's life: checkpoints carry the choice. On the processor the measurement is kept in the
trainer's cache, so that only the first job of its kind pays for it.
"""

import copy
import functools
import json
import os
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal, cast

import torch
from torch import nn
from torch.nn import functional

from tuneyard.trainer.oom import is_out_of_memory
from tuneyard.trainer.run import Run
from tuneyard.vision.architectures import architectures
from tuneyard.vision.config import ClassifierConfig

Precision = Literal["bf16", "fp16", "fp32"]

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_WORTH_MEASURING = 1_000_000_000
"""Multiply-adds of a step's forward pass below which casting costs about what the faster arithmetic saves."""
_NEEDED_GAIN = 1.1
_PROBE_SAMPLES = 16
_PROBE_REPEATS = 2


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """The context of forward passes in this precision."""
    if precision == "fp32":
        return nullcontext()
    context = torch.autocast(device.type, dtype=_TYPES[precision])
    return cast(AbstractContextManager[None], context)


def choose(config: ClassifierConfig, model: nn.Module, *, device: torch.device, run: Run) -> Precision:
    """The precision of a run that begins; the model and every random state are left as they are."""
    if config.precision != "auto":
        return config.precision
    if device.type == "cuda":
        return precision_of_cuda(device)
    return _of_cpu(config, model, run=run)


def precision_of_cuda(device: torch.device) -> Precision:
    """The fastest precision that an accelerator does well, by its generation."""
    major, _ = torch.cuda.get_device_capability(device)
    if major >= 8:
        return "bf16"
    return "fp16" if major >= 7 else "fp32"


def _of_cpu(config: ClassifierConfig, model: nn.Module, *, run: Run) -> Precision:
    samples = min(config.batch_size, _PROBE_SAMPLES)
    work = architectures()[config.architecture].multiply_adds_at(config.image_size) * config.batch_size
    if not cpu_multiplies_bf16() or work < _WORTH_MEASURING or samples < 2:
        return "fp32"
    subject = (
        f"{config.architecture} {config.image_size} px x {samples}, frozen {config.freeze_backbone}, "
        f"{torch.get_num_threads()} threads, {cpu_model()}, torch {torch.__version__}"
    )

    def build(folder: Path) -> None:
        run.check_stop()
        seconds = measure(model, samples=samples, image_size=config.image_size)
        (folder / "seconds.json").write_text(json.dumps(seconds | {"subject": subject}))

    folder = run.cached("precision", subject, build)
    seconds = json.loads((folder / "seconds.json").read_text())
    fast = seconds["bf16"] is not None and seconds["bf16"] * _NEEDED_GAIN < seconds["fp32"]
    return "bf16" if fast else "fp32"


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


def measure(model: nn.Module, *, samples: int, image_size: int) -> dict[str, float | None]:
    """Seconds of a forward and backward pass in fp32 and bf16, the best of few; None where it failed."""
    subject = copy.deepcopy(model)
    device = torch.device("cpu")
    images = torch.zeros(samples, 3, image_size, image_size).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(samples, dtype=torch.long)

    def seconds(precision: Precision) -> float | None:
        best = None
        for _ in range(1 + _PROBE_REPEATS):  # the first pass compiles kernels and is beaten by the others
            start = time.perf_counter()
            try:
                with autocast(precision, device):
                    logits = subject(images)
                torch.autograd.backward(functional.cross_entropy(logits.float(), labels))
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                return None
            taken = time.perf_counter() - start
            best = taken if best is None else min(best, taken)
        return best

    with torch.random.fork_rng(devices=[]):
        return {"fp32": seconds("fp32"), "bf16": seconds("bf16")}
