"""The optimizers that adapters and language models are trained with, their state allocated before the first
step.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer

from tuneyard.recipes.optimization import allocate_state as allocate_torch_state

_BETAS = (0.9, 0.999)
_NESTED = "__bnb_optimizer_quant_state__"
"""Under which bitsandbytes saves most of a weight's state, so that FSDP does not gather it."""


class OptimizerSettings(Protocol):
    """What an optimizer depends on; the configs of these recipes have it."""

    @property
    def optimizer(self) -> str:
        """ "adamw", "sgd", "adamw_8bit" or "paged_adamw_8bit"."""
        ...

    @property
    def learning_rate(self) -> float:
        """The peak."""
        ...

    @property
    def momentum(self) -> float:
        """Of SGD."""
        ...


def make_optimizer(
    groups: Sequence[dict[str, Any]], settings: OptimizerSettings, device: torch.device
) -> Optimizer:
    """The optimizer over groups of weights with its state allocated: memory runs out here or not at all.

    The 8-bit optimizers are bitsandbytes'; paged, their state moves to the host when the device is full, and
    on the processor there is nothing to page. They keep fp32 state for weights of fewer than 4096 numbers.
    """
    if settings.optimizer in ("adamw_8bit", "paged_adamw_8bit"):
        from bitsandbytes.optim.adamw import AdamW8bit, PagedAdamW8bit

        paged = settings.optimizer == "paged_adamw_8bit" and device.type == "cuda"
        kind = PagedAdamW8bit if paged else AdamW8bit
        optimizer = cast(Optimizer, kind(list(groups), lr=settings.learning_rate, betas=_BETAS))
        _allocate_8bit_state(optimizer)
        return optimizer
    made: Optimizer
    if settings.optimizer == "sgd":
        made = SGD(list(groups), lr=settings.learning_rate, momentum=settings.momentum, fused=True)
    else:
        made = AdamW(list(groups), lr=settings.learning_rate, betas=_BETAS, fused=True)
    allocate_torch_state(made)
    return made


@torch.no_grad()
def restore_state(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Puts what `state_dict` gave of an optimizer made alike into the state that is allocated.

    As `load_state_dict`, but in place: on a device the state is never there twice, and paged state stays
    paged. Raises KeyError, and ValueError where other weights or another optimizer were saved.
    """
    if torch.cuda.is_available():
        # Pages are written from here, and the device may still be at filling them.
        torch.cuda.synchronize()
    for group, told in zip(optimizer.param_groups, saved["param_groups"], strict=True):
        for parameter, number in zip(group["params"], told["params"], strict=True):
            _restore(optimizer.state[parameter], _flat(saved["state"].get(number, {})))
        group.update({name: value for name, value in told.items() if name != "params"})


def _restore(own: dict[str, Any], values: Mapping[str, Any]) -> None:
    if own.keys() != values.keys():
        raise ValueError("the optimizer keeps other state")
    for name, value in values.items():
        if not isinstance(value, Tensor):
            own[name] = value
        elif value.shape == own[name].shape:
            own[name].copy_(value)
        else:
            raise ValueError(f"the optimizer's {name} has another shape")


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: Mapping[str, Any] = values.get(_NESTED, {})
    return {name: value for name, value in values.items() if name != _NESTED} | dict(nested)


@torch.no_grad()
def _allocate_8bit_state(optimizer: Any) -> None:
    """bitsandbytes allocates at a weight's first update, so its own way of doing that is called here."""
    optimizer.check_overrides()
    optimizer.initialized = True
    for group_index, group in enumerate(optimizer.param_groups):
        for index, parameter in enumerate(group["params"]):
            optimizer.init_state(group, parameter, group_index, index)
