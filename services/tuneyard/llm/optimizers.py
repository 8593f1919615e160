"""The optimizer over a fine-tuning's trained weights."""

import torch
from torch import nn
from torch.optim import Optimizer

from tuneyard.llm.config import LanguageModelConfig
from tuneyard.recipes import optimizers
from tuneyard.recipes.optimization import decay_groups
from tuneyard.recipes.trained_weights import trained_parameters


def make_optimizer(model: nn.Module, config: LanguageModelConfig, device: torch.device) -> Optimizer:
    """The optimizer with its state allocated: memory runs out here or not at all."""
    groups = decay_groups(trained_parameters(model), weight_decay=config.weight_decay)
    return optimizers.make_optimizer(groups, config, device)
