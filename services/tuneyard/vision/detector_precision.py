"""Which arithmetic a detector's run uses: what was asked for, or the fastest that the device does well.

Decided once in a job's life: checkpoints carry the choice. On the processor it is measured, and the
measurement is kept in the trainer's cache, so that only the first job of its kind pays for it.
"""

import copy
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tuneyard.recipes.precision import Precision, cpu_model, cpu_multiplies_bf16, precision_of_cuda
from tuneyard.trainer.oom import is_out_of_memory
from tuneyard.trainer.run import Run
from tuneyard.vision.detector_config import DetectorConfig
from tuneyard.vision.detector_loss import DetectorLoss

_CANDIDATES: tuple[Precision, ...] = ("fp32", "bf16")
_NEEDED_GAIN = 1.1
_PROBE_SIDE = 320
"""Larger inputs gain more, if anything: their measurement would take as long as many steps."""
_PROBE_PIXELS = 16 * 160 * 160
"""Of a batch: enough that the arithmetic, and not the calls, takes the time."""
_PROBE_REPEATS = 3


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
    seconds = json.loads((folder / "seconds.json").read_text())
    fast = seconds["bf16"] is not None and seconds["bf16"] * _NEEDED_GAIN < seconds["fp32"]
    return "bf16" if fast else "fp32"


def measure(model: nn.Module, settings: Any, *, samples: int, side: int) -> dict[str, float | None]:
    """Seconds of a forward and backward pass in fp32 and bf16, the best of few; None where it failed."""
    batch = {
        "img": torch.zeros(samples, 3, side, side, dtype=torch.uint8),
        "cls": torch.zeros(samples, 1),
        "bboxes": torch.full((samples, 4), 0.5),
        "batch_idx": torch.arange(samples, dtype=torch.float32),
    }
    best: dict[str, float | None] = {}
    with torch.random.fork_rng(devices=[]):
        # In turns, so that what else the machine does slows both; the first pass, which compiles kernels, is
        # beaten by the others.
        for _ in range(1 + _PROBE_REPEATS):
            for precision in _CANDIDATES:
                taken = _seconds(copy.deepcopy(model), settings, batch, precision)
                before = best.setdefault(precision, taken)
                best[precision] = None if taken is None or before is None else min(before, taken)
    return best


def _seconds(model: nn.Module, settings: Any, batch: dict[str, Any], precision: Precision) -> float | None:
    """One pass; None where the precision does not work."""
    loss = DetectorLoss(model, settings, weights=None, precision=precision, device=torch.device("cpu"))
    start = time.perf_counter()
    try:
        total, _ = loss.losses(loss.raw(model, loss.images(batch)), batch)
        torch.autograd.backward(total)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        return None
    return time.perf_counter() - start
