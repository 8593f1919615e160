"""Which arithmetic a detector's run uses: what was asked for, or the fastest that the device does well.

Decided once in a job's life: checkpoints carry the choice. On the processor it is measured, and the
measurement is kept in the trainer's cache, so that only the first job of its kind pays for it.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tuneyard.recipes.precision import (
    Precision,
    cpu_model,
    cpu_multiplies_bf16,
    faster_of,
    measured_on_cpu,
    precision_of_checkpoint,
    precision_of_cuda,
)
from tuneyard.trainer.run import Run
from tuneyard.vision.detector_config import DetectorConfig
from tuneyard.vision.detector_loss import DetectorLoss

_PROBE_SIDE = 320
"""Larger inputs gain more, if anything: their measurement would take as long as many steps."""
_PROBE_PIXELS = 16 * 160 * 160
"""Of a batch: enough that the arithmetic, and not the calls, takes the time."""


def choose(
    config: DetectorConfig, model: nn.Module, settings: Any, *, device: torch.device, run: Run
) -> Precision:
    """The precision of a run that begins; the model and every random state are left as they are."""
    if config.precision != "auto":
        return config.precision
    if device.type == "cuda":
        return precision_of_cuda(device)
    if not cpu_multiplies_bf16():
        return "fp32"
    side = min(config.image_size, _PROBE_SIDE)
    samples = max(2, min(config.batch_size, _PROBE_PIXELS // side**2))
    subject = (
        f"detector {config.architecture} {side} px x {samples}, frozen {config.freeze_layers},"
        f" {torch.get_num_threads()} threads, {cpu_model()}, torch {torch.__version__}"
    )

    def build(folder: Path) -> None:
        run.check_stop()
        seconds = measure(model, settings, samples=samples, side=side)
        (folder / "seconds.json").write_text(json.dumps(seconds | {"subject": subject}))

    folder = run.cached("precision", subject, build)
    return faster_of(json.loads((folder / "seconds.json").read_text()))


def resumed(
    saved: Precision,
    config: DetectorConfig,
    model: nn.Module,
    settings: Any,
    *,
    device: torch.device,
    run: Run,
) -> Precision:
    """The precision of a run that goes on from a checkpoint made in `saved`; raises RecipeError INVALID_FIELD
    where that was asked for and cannot be done here.
    """
    return precision_of_checkpoint(
        saved,
        named=config.precision,
        device=device,
        run=run,
        choose=lambda: choose(config, model, settings, device=device, run=run),
    )


def measure(model: nn.Module, settings: Any, *, samples: int, side: int) -> dict[str, float | None]:
    """Seconds of a forward and backward pass in fp32 and bf16; see `measured_on_cpu`."""
    batch = {
        "img": torch.zeros(samples, 3, side, side, dtype=torch.uint8),
        "cls": torch.zeros(samples, 1),
        "bboxes": torch.full((samples, 4), 0.5),
        "batch_idx": torch.arange(samples, dtype=torch.float32),
    }

    def prepare(precision: Precision) -> Callable[[], None]:
        subject = copy.deepcopy(model)
        loss = DetectorLoss(subject, settings, weights=None, precision=precision, device=torch.device("cpu"))

        def step() -> None:
            total, _ = loss.losses(loss.raw(subject, loss.images(batch)), batch)
            torch.autograd.backward(total)

        return step

    return measured_on_cpu(prepare)
