"""Which arithmetic a run uses: what was asked for, or the fastest that the device does well, by measurement.

Decided once in a job's life: checkpoints carry the choice. On the processor the measurement is kept in the
trainer's cache, so that only the first job of its kind pays for it.
"""

import copy
import functools
import json
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from tuneyard.recipes.precision import (
    Precision,
    autocast,
    cpu_model,
    cpu_multiplies_bf16,
    faster_of,
    measured_on_cpu,
    precision_of_checkpoint,
    precision_of_cuda,
)
from tuneyard.trainer.run import Run
from tuneyard.vision.architectures import architectures
from tuneyard.vision.config import ClassifierConfig

_WORTH_MEASURING = 1_000_000_000
"""Multiply-adds of a step's forward pass below which casting costs about what the faster arithmetic saves."""
_PROBE_SAMPLES = 16
_PROBE_PIXELS = 16 * 160 * 160
"""Of a batch: more would only take longer; a step of large images takes seconds, and several are measured."""


def choose(config: ClassifierConfig, model: nn.Module, *, device: torch.device, run: Run) -> Precision:
    """The precision of a run that begins; the model and every random state are left as they are."""
    if config.precision != "auto":
        return config.precision
    if device.type == "cuda":
        return precision_of_cuda(device)
    return _of_cpu(config, model, run=run)


def resumed(
    saved: Precision, config: ClassifierConfig, model: nn.Module, *, device: torch.device, run: Run
) -> Precision:
    """The precision of a run that goes on from a checkpoint made in `saved`; raises RecipeError INVALID_FIELD
    where that was asked for and cannot be done here.
    """
    return precision_of_checkpoint(
        saved,
        named=config.precision,
        device=device,
        run=run,
        choose=lambda: choose(config, model, device=device, run=run),
    )


def _of_cpu(config: ClassifierConfig, model: nn.Module, *, run: Run) -> Precision:
    fitting = max(2, _PROBE_PIXELS // config.image_size**2)
    samples = min(config.batch_size, _PROBE_SAMPLES, fitting)
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
    return faster_of(json.loads((folder / "seconds.json").read_text()))


def measure(model: nn.Module, *, samples: int, image_size: int) -> dict[str, float | None]:
    """Seconds of a forward and backward pass in fp32 and bf16; see `measured_on_cpu`."""
    subject = copy.deepcopy(model)
    device = torch.device("cpu")
    images = torch.zeros(samples, 3, image_size, image_size).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(samples, dtype=torch.long)

    def step(precision: Precision) -> None:
        with autocast(precision, device):
            logits = subject(images)
        torch.autograd.backward(functional.cross_entropy(logits.float(), labels))

    return measured_on_cpu(lambda precision: functools.partial(step, precision))
