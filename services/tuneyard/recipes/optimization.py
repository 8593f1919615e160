"""The learning rate's course, and optimizers whose state is allocated before the first step."""

import math
from collections.abc import Iterable
from typing import Any, Final, Protocol, cast

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

_NORM_EPSILON: Final = 1e-6
"""As `clip_grad_norm_` has it."""


class RateSettings(Protocol):
    """What the rate depends on; every recipe's config has it."""

    @property
    def learning_rate(self) -> float:
        """The peak."""
        ...

    @property
    def schedule(self) -> str:
        """ "cosine", "linear" or "constant"."""
        ...

    @property
    def warmup_steps(self) -> int | None:
        """None: by the ratio."""
        ...

    @property
    def warmup_ratio(self) -> float:
        """Of all steps."""
        ...


def learning_rate(settings: RateSettings, *, step: int, total_steps: int) -> float:
    """The rate of one step, counted from 0: a straight rise to the peak, then the schedule down to zero."""
    warmup = warmup_steps(settings, total_steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, total_steps - warmup)
    if settings.schedule == "cosine":
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
    if settings.schedule == "linear":
        return settings.learning_rate * (1 - done)
    return settings.learning_rate


def warmup_steps(settings: RateSettings, total_steps: int) -> int:
    """The steps over which the rate rises."""
    if settings.warmup_steps is not None:
        return min(settings.warmup_steps, total_steps)
    return round(settings.warmup_ratio * total_steps)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Sets the rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def clipped_step(optimizer: Optimizer, trained: Iterable[Tensor], *, max_norm: float) -> None:
    """Makes a step of a fused optimizer with gradients whose common norm is cut to `max_norm`.

    As `clip_grad_norm_` and a step, but for roundings: the optimizer scales each gradient as it reads it
    (what it offers gradient scalers), so that all of them are read and written once less.
    """
    gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    scaled = cast(Any, optimizer)
    scaled.grad_scale = ((norm + _NORM_EPSILON) / max_norm).clamp(min=1.0)
    optimizer.step()
    scaled.grad_scale = None


def decay_groups(trained: Iterable[Tensor], *, weight_decay: float) -> list[dict[str, object]]:
    """Groups for an optimizer: biases and the weights of norms are not decayed."""
    trained = list(trained)
    groups: list[dict[str, object]] = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def allocate_state(optimizer: Optimizer) -> None:
    """Makes the state of torch's AdamW or SGD as the first step would, all zero: memory runs out here or not
    at all. A test compares the two.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if isinstance(optimizer, AdamW):
                optimizer.state[parameter] = {
                    # The fused kernel wants its count beside the weights.
                    "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                    "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                }
            elif group["momentum"]:
                momentum = torch.zeros_like(parameter, memory_format=torch.preserve_format)
                optimizer.state[parameter] = {"momentum_buffer": momentum}
