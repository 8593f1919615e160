"""Which arithmetic a fine-tuning uses, and the number format of its weights.

A frozen base is held in the arithmetic's own format, its adapters in fp32; a model that is trained whole is
held in fp32 and computed under autocast.
"""

from contextlib import AbstractContextManager, nullcontext

import torch

from tuneyard.llm.config import LanguageModelConfig, MethodName
from tuneyard.recipes import precision as of_devices
from tuneyard.recipes.precision import Precision, dtype_of
from tuneyard.recipes.precision import autocast as autocast_of
from tuneyard.trainer.run import Run

__all__ = ["Precision", "autocast", "base_dtype", "choose_precision", "dtype_of", "resumed_precision"]


def choose_precision(config: LanguageModelConfig, device: torch.device, run: Run) -> Precision:
    """The precision of a run that begins: as given, else the fastest that the device does well.

    Raises RecipeError INVALID_FIELD for fp16 on the processor, which computes parts of it in fp32 and slowly.
    """
    chosen = of_devices.choose_precision(config.precision, device, run)
    if (bits := config.quantization) and bits.compute_dtype == "float16" and device.type == "cpu":
        run.warn("slow_precision", "The processor computes float16 slowly: unset bnb_4bit_compute_dtype.")
    return chosen


def resumed_precision(
    saved: Precision, config: LanguageModelConfig, device: torch.device, run: Run
) -> Precision:
    """The precision of a run that goes on from a checkpoint made in `saved`. Raises as `choose_precision`."""
    return of_devices.precision_of_checkpoint(
        saved,
        named=config.precision,
        device=device,
        run=run,
        choose=lambda: choose_precision(config, device, run),
    )


def base_dtype(precision: Precision, method: MethodName) -> torch.dtype:
    """The number format that the base's weights are held in."""
    return torch.float32 if method == "full" else dtype_of(precision)


def autocast(precision: Precision, device: torch.device, method: MethodName) -> AbstractContextManager[None]:
    """The context of forward passes.

    None is needed where the weights are in the arithmetic's format already: the activations then are, too,
    and adapters cast their inputs themselves.
    """
    if method != "full" and precision != "fp16":
        return nullcontext()
    return autocast_of(precision, device)
