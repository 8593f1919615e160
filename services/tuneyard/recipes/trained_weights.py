"""The weights that a training changes, of adapters and whole models alike: for optimizers and checkpoints."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import Parameter


def trained_parameters(model: nn.Module) -> list[Parameter]:
    """What the optimizer changes, in the model's order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """The trained weights by name, uncopied: for checkpoints, of adapters and of whole models alike."""
    return {name: value.data for name, value in model.named_parameters() if value.requires_grad}


@torch.no_grad()
def load_adapter_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Puts back what `adapter_state` gave; raises ValueError where the names or shapes are others."""
    own = {name: value for name, value in model.named_parameters() if value.requires_grad}
    if own.keys() != state.keys():
        raise ValueError("other weights are trained")
    for name, value in own.items():
        if value.shape != state[name].shape:
            raise ValueError(f"{name} has another shape")
        value.copy_(state[name])
