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

from tuneyard.trainer.oom import is_out_of_memory
from tuneyard.trainer.run import Run
from tuneyard.vision.detector_config import DetectorConfig
from tuneyard.vision.detector_loss import DetectorLoss
from tuneyard.vision.precision import Precision, cpu_model, cpu_multiplies_bf16, precision_of_cuda

_NEEDED_GAIN = 1.1
_PROBE_SAMPLES = 4
_PROBE_SIDE = 320
"""Larger inputs gain more, if anything: their measurement would take as long as many steps."""
_PROBE_REPEATS = 2


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
    subject = (
        f"detector {config.architecture} {side} px x {_PROBE_SAMPLES}, frozen {config.freeze_layers},"
        f" {torch.get_num_threads()} threads, {cpu_model()}, torch {torch.__version__}"
    )

    def build(folder: Path) -> None:
        run.check_stop()
        seconds = measure(model, settings, side=side)
        (folder / "seconds.json").write_text(json.dumps(seconds | {"subject": subject}))

    folder = run.cached("precision", subject, build)
    seconds = json.loads((folder / "seconds.json").read_text())
    fast = seconds["bf16"] is not None and seconds["bf16"] * _NEEDED_GAIN < seconds["fp32"]
    return "bf16" if fast else "fp32"


def measure(model: nn.Module, settings: Any, *, side: int) -> dict[str, float | None]:
    """Seconds of a forward and backward pass in fp32 and bf16, the best of few; None where it failed."""
    device = torch.device("cpu")
    batch = {
        "img": torch.zeros(_PROBE_SAMPLES, 3, side, side, dtype=torch.uint8),
        "cls": torch.zeros(_PROBE_SAMPLES, 1),
        "bboxes": torch.full((_PROBE_SAMPLES, 4), 0.5),
        "batch_idx": torch.arange(_PROBE_SAMPLES, dtype=torch.float32),
    }

    def seconds(precision: Precision) -> float | None:
        subject = copy.deepcopy(model)
        loss = DetectorLoss(subject, settings, weights=None, precision=precision, device=device)
        best = None
        for _ in range(1 + _PROBE_REPEATS):  # the first pass compiles kernels and is beaten by the others
            start = time.perf_counter()
            try:
                total, _ = loss.losses(loss.raw(subject, loss.images(batch)), batch)
                torch.autograd.backward(total)
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                return None
            taken = time.perf_counter() - start
            best = taken if best is None else min(best, taken)
        return best

    with torch.random.fork_rng(devices=[]):
        return {"fp32": seconds("fp32"), "bf16": seconds("bf16")}
