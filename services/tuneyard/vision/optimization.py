"""What changes weights: the optimizer with its state allocated, the learning rate's course, the average."""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from tuneyard.vision.config import ClassifierConfig


def make_optimizer(model: nn.Module, config: ClassifierConfig) -> Optimizer:
    """The optimizer over the trained weights, its state allocated: memory runs out here or not at all.

    Biases and the weights of norms are not decayed.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    optimizer: Optimizer
    if config.optimizer == "sgd":
        optimizer = SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=True)
    else:
        optimizer = AdamW(groups, lr=config.learning_rate, fused=True)
    _allocate_state(optimizer, trained)
    return optimizer


def _allocate_state(optimizer: Optimizer, trained: Sequence[Tensor]) -> None:
    """Makes the state as the first step would, all zero; a test compares the two."""
    for parameter in trained:
        if isinstance(optimizer, AdamW):
            optimizer.state[parameter] = {
                # The fused kernel wants its count beside the weights.
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            }
        elif optimizer.param_groups[0]["momentum"]:
            momentum = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            optimizer.state[parameter] = {"momentum_buffer": momentum}


def learning_rate(config: ClassifierConfig, *, step: int, total_steps: int) -> float:
    """The rate of one step, counted from 0: a straight rise to the peak, then the schedule down to zero."""
    warmup = warmup_steps(config, total_steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, total_steps - warmup)
    if config.schedule == "cosine":
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
    if config.schedule == "linear":
        return config.learning_rate * (1 - done)
    return config.learning_rate


def warmup_steps(config: ClassifierConfig, total_steps: int) -> int:
    """The steps over which the rate rises."""
    if config.warmup_steps is not None:
        return min(config.warmup_steps, total_steps)
    return round(config.warmup_ratio * total_steps)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Sets the rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def class_weights(config: ClassifierConfig, classes: Sequence[str], counts: Sequence[int]) -> Tensor | None:
    """The loss's weight of each class, or None where all are equal.

    Balanced weights are n / (classes x n of the class), so that their mean over the samples is 1.
    """
    if not config.balance_classes and not config.class_weights:
        return None
    weights = torch.ones(len(classes))
    if config.balance_classes:
        present = torch.tensor(counts, dtype=torch.float32).clamp(min=1)
        weights = sum(counts) / (len(classes) * present)
    for number, name in enumerate(classes):
        weights[number] = config.class_weights.get(name, float(weights[number]))
    return weights


class WeightAverage:
    """An exponential moving average of the weights, and the newest of the buffers."""

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.updates = 0
        self._decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Takes the weights of one more step in; early steps count more, so that random weights fade."""
        self.updates += 1
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        own: list[Tensor] = list(self.model.parameters())
        newest: list[Tensor] = list(model.parameters())
        torch._foreach_lerp_(own, newest, 1 - decay)
        for buffer, new in zip(self.model.buffers(), model.buffers(), strict=True):
            buffer.copy_(new)
