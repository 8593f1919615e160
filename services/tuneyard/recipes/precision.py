"""What devices do well: the arithmetic of a run, as far as the device alone decides it."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Literal, cast

import torch

from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.oom import is_out_of_memory
from tuneyard.trainer.processor import cpu_model, cpu_multiplies_bf16
from tuneyard.trainer.run import Run

__all__ = [
    "Precision",
    "autocast",
    "choose_precision",
    "cpu_model",
    "cpu_multiplies_bf16",
    "dtype_of",
    "faster_of",
    "measured_on_cpu",
    "nearest_precision",
    "precision_of_checkpoint",
    "precision_of_cuda",
    "restore_scaler",
]

Precision = Literal["bf16", "fp16", "fp32"]

_REPEATS: Final = 4
_LEAST_REPEATS: Final = 2
_ENOUGH_SECONDS: Final = 4.0
_NEEDED_GAIN: Final = 1.1
"""What bf16 must gain to be worth its fewer digits."""
_CLEAR_RATIO: Final = 1.5
"""Between two passes that compile nothing: more than noise makes, so that no further turn would change it."""
_SHORT_SECONDS: Final = 0.1
"""A pass that one disturbance could double; more of them cost little."""

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def dtype_of(precision: Precision) -> torch.dtype:
    """The number format of a precision's arithmetic."""
    return _DTYPES[precision]


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """The context of forward passes in this precision."""
    if precision == "fp32":
        return nullcontext()
    context = torch.autocast(device.type, dtype=dtype_of(precision))
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
        return _fastest_precision(device)
    if named == "bf16" and device.type == "cpu" and not cpu_multiplies_bf16():
        run.warn("slow_precision", "This processor has no bf16 arithmetic: it is emulated, and slow.")
    return cast(Precision, named)


def precision_of_checkpoint(
    saved: Precision, *, named: str, device: torch.device, run: Run, choose: Callable[[], Precision]
) -> Precision:
    """The precision of a run that goes on from a checkpoint: the checkpoint's own, to the bit, unless another
    kind of device made it and this one does it badly.

    Then what was asked for is warned of or refused as where a run begins, and what was left to the device is
    chosen again, with a warning. Raises RecipeError INVALID_FIELD.
    """
    if _does_well(saved, device):
        return saved
    if named != "auto":
        return choose_precision(saved, device, run)
    chosen = choose()
    if chosen != saved:
        run.warn(
            "not_bitwise",
            f"The checkpoint was made in {saved}, which is not for this device: the run goes on in {chosen},"
            " and its results will not be bitwise those of an uninterrupted run.",
        )
    return chosen


def nearest_precision(trained: Precision, device: torch.device) -> Precision:
    """The precision in which a finished model is asked: the training's where the device does it well, else
    the fastest that it does.
    """
    return trained if _does_well(trained, device) else _fastest_precision(device)


def _fastest_precision(device: torch.device) -> Precision:
    if device.type == "cuda":
        return precision_of_cuda(device)
    return "bf16" if cpu_multiplies_bf16() else "fp32"


def _does_well(precision: Precision, device: torch.device) -> bool:
    if precision == "fp32":
        return True
    if device.type == "cuda":
        return precision == "fp16" or precision_of_cuda(device) == "bf16"
    return precision == "bf16" and cpu_multiplies_bf16()


def restore_scaler(scaler: torch.amp.GradScaler, saved: Mapping[str, Any]) -> None:
    """Goes on with a checkpoint's loss scale; one made in another precision has none, and the scale begins
    anew.
    """
    if saved:
        scaler.load_state_dict(dict(saved))


def measured_on_cpu(prepare: Callable[[Precision], Callable[[], None]]) -> dict[str, float | None]:
    """Seconds of a step in fp32 and in bf16, the best of few; None for one that does not work.

    `prepare` gives the step that is timed. They take turns, so that what else the machine does slows both;
    the first pass, which compiles kernels, is beaten by the others. Ends once one of them is clearly faster.
    """
    best: dict[str, float | None] = {}
    began = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        for turn in range(1 + _REPEATS):
            if turn > 1 and _is_clear(best):
                break
            if turn > _LEAST_REPEATS and time.perf_counter() - began > _ENOUGH_SECONDS:
                break
            for precision in ("fp32", "bf16"):
                taken = _seconds(prepare(precision))
                before = best.setdefault(precision, taken)
                best[precision] = None if taken is None or before is None else min(before, taken)
    return best


def _is_clear(best: Mapping[str, float | None]) -> bool:
    """Whether one of the two has won already; also where the other does not work."""
    fp32, bf16 = best["fp32"], best["bf16"]
    if not (fp32 and bf16):
        return True
    faster, slower = sorted((fp32, bf16))
    return faster > _SHORT_SECONDS and slower > _CLEAR_RATIO * faster


def faster_of(seconds: Mapping[str, float | None]) -> Precision:
    """What `measured_on_cpu` speaks for: bf16 where it works and is clearly faster."""
    fp32, bf16 = seconds["fp32"], seconds["bf16"]
    return "bf16" if fp32 and bf16 and bf16 * _NEEDED_GAIN < fp32 else "fp32"


def _seconds(step: Callable[[], None]) -> float | None:
    start = time.perf_counter()
    try:
        step()
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        return None
    return time.perf_counter() - start
