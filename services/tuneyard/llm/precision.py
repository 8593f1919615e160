"""Which arithmetic a fine-tuning uses, and the number format of its weights.

A frozen base is held in the arithmetic's own format, its adapters in fp32; a model that is trained whole is
held in fp32 and computed under autocast.
"""

from contextlib import AbstractContextManager, nullcontext

import torch

from tuneyard.llm.config import LanguageModelConfig, MethodName
from tuneyard.recipes.precision import Precision, cpu_multiplies_bf16, precision_of_cuda
from tuneyard.recipes.precision import autocast as autocast_of
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.run import Run

__all__ = ["Precision", "autocast", "base_dtype", "choose_precision", "dtype_of"]

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def choose_precision(config: LanguageModelConfig, device: torch.device, run: Run) -> Precision:
    """The precision of a run that begins: as given, else the fastest that the device does well.

    Raises RecipeError INVALID_FIELD for fp16 on the processor, which computes parts of it in fp32 and slowly.
    """
    if config.precision == "fp16" and device.type == "cpu":
        raise RecipeError(
            "spec.hyperparameters.precision: fp16 needs an accelerator, and this run has the processor only.",
            reason="INVALID_FIELD",
            remedies=("Set precision to auto, bf16 or fp32.",),
        )
    if (bits := config.quantization) and bits.compute_dtype == "float16" and device.type == "cpu":
        run.warn("slow_precision", "The processor computes float16 slowly: unset bnb_4bit_compute_dtype.")
    if config.precision == "auto":
        if device.type == "cuda":
            return precision_of_cuda(device)
        return "bf16" if cpu_multiplies_bf16() else "fp32"
    if config.precision == "bf16" and device.type == "cpu" and not cpu_multiplies_bf16():
        run.warn("slow_precision", "This processor has no bf16 arithmetic: it is emulated, and slow.")
    return config.precision


def dtype_of(precision: Precision) -> torch.dtype:
    """The number format of a precision's arithmetic."""
    return _DTYPES[precision]


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
