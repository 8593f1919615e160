"""What predictions of a training's memory have in common, whatever is trained. Imports no torch.

What a step keeps its family predicts.
"""

from collections.abc import Callable
from math import ceil
from typing import Literal

from tuneyard.trainer.fitting import ACCELERATOR_SHARE
from tuneyard.trainer.processor import cpu_multiplies_bf16
from tuneyard.v1 import training_pb2

OptimizerKind = Literal["adamw", "sgd", "8bit"]
"""As far as its state's size goes."""
STATE_BYTES: dict[OptimizerKind, int] = {"adamw": 8, "sgd": 4, "8bit": 2}
"""Of an optimizer's state, for each trained weight."""
GIB = 1 << 30

_OPTIMIZERS: dict[int, OptimizerKind] = {
    training_pb2.OPTIMIZER_ADAMW: "adamw",
    training_pb2.OPTIMIZER_SGD: "sgd",
    training_pb2.OPTIMIZER_ADAMW_8BIT: "8bit",
    training_pb2.OPTIMIZER_PAGED_ADAMW_8BIT: "8bit",
}


def optimizer_kind(optimizer: "training_pb2.Optimizer.ValueType") -> OptimizerKind:
    """The kind of a spec's optimizer; of one that is not offered, what is recommended."""
    return _OPTIMIZERS.get(optimizer, "adamw")


def is_half(precision: "training_pb2.Precision.ValueType", *, on_cpu: bool) -> bool:
    """Whether a training computes with 16 bits, in the arithmetic that the kind of device gets."""
    if precision in (training_pb2.PRECISION_BF16, training_pb2.PRECISION_FP16):
        return True
    return precision != training_pb2.PRECISION_FP32 and (not on_cpu or cpu_multiplies_bf16())


def largest_batch(limit_bytes: int, *, need_of: Callable[[int], int], most: int) -> int:
    """The largest micro-batch whose need, which grows with it, is within a limit; 0 if not even one sample's.

    Of batches beyond `most`, a power of two, none is asked about.
    """
    if need_of(1) > limit_bytes:
        return 0
    low, high = 1, 2
    while high <= most and need_of(high) <= limit_bytes:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if need_of(middle) <= limit_bytes else (low, middle)
    return low


def device_size(need_bytes: int) -> int:
    """The memory of an accelerator that has so much to spare, in whole GiB."""
    return GIB * ceil(need_bytes / ACCELERATOR_SHARE / GIB)
