"""What changes a classifier's weights: its optimizer, the weights of its classes, the average."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from tuneyard.recipes.optimization import allocate_state, decay_groups
from tuneyard.vision.config import ClassifierConfig


def make_optimizer(model: nn.Module, config: ClassifierConfig) -> Optimizer:
    """The optimizer over the trained weights, its state allocated: memory runs out here or not at all.

    Biases and the weights of norms are not decayed.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = decay_groups(trained, weight_decay=config.weight_decay)
    optimizer: Optimizer
    if config.optimizer == "sgd":
        optimizer = SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=True)
    else:
        optimizer = AdamW(groups, lr=config.learning_rate, fused=True)
    allocate_state(optimizer)
    return optimizer


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
