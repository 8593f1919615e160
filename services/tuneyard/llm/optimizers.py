"""Optimizers over the trained weights, their state allocated before the first step."""

from typing import Any, cast

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from tuneyard.llm.config import LanguageModelConfig
from tuneyard.recipes.optimization import allocate_state as allocate_torch_state
from tuneyard.recipes.optimization import decay_groups
from tuneyard.recipes.trained_weights import trained_parameters

_BETAS = (0.9, 0.999)


def make_optimizer(model: nn.Module, config: LanguageModelConfig, device: torch.device) -> Optimizer:
    """The optimizer with its state allocated: memory runs out here or not at all.

    The 8-bit optimizers are bitsandbytes'; paged, their state moves to the host when the device is full, and
    on the processor there is nothing to page. They keep fp32 state for weights of fewer than 4096 numbers.
    """
    groups = decay_groups(trained_parameters(model), weight_decay=config.weight_decay)
    if config.optimizer in ("adamw_8bit", "paged_adamw_8bit"):
        from bitsandbytes.optim.adamw import AdamW8bit, PagedAdamW8bit

        paged = config.optimizer == "paged_adamw_8bit" and device.type == "cuda"
        kind = PagedAdamW8bit if paged else AdamW8bit
        optimizer = cast(Optimizer, kind(groups, lr=config.learning_rate, betas=_BETAS))
        _allocate_8bit_state(optimizer)
        return optimizer
    made: Optimizer
    if config.optimizer == "sgd":
        made = SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=True)
    else:
        made = AdamW(groups, lr=config.learning_rate, betas=_BETAS, fused=True)
    allocate_torch_state(made)
    return made


@torch.no_grad()
def _allocate_8bit_state(optimizer: Any) -> None:
    """bitsandbytes allocates at a weight's first update, so its own way of doing that is called here."""
    optimizer.check_overrides()
    optimizer.initialized = True
    for group_index, group in enumerate(optimizer.param_groups):
        for index, parameter in enumerate(group["params"]):
            optimizer.init_state(group, parameter, group_index, index)
