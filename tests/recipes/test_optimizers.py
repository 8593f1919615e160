"""Optimizers: what was saved of one goes back into the memory that its successor allocated."""

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from tuneyard.recipes.optimizers import make_optimizer, restore_state

NAMES = ["adamw", "sgd", "adamw_8bit", "paged_adamw_8bit"]


@dataclass(frozen=True)
class Settings:
    optimizer: str
    learning_rate: float = 0.1
    momentum: float = 0.9


def weights() -> list[Parameter]:
    """One large enough that an 8-bit optimizer keeps 8 bits of it, and one that is not."""
    return [Parameter(torch.ones(64, 128)), Parameter(torch.ones(16))]


def make(name: str, trained: list[Parameter]) -> Optimizer:
    groups = [{"params": [each], "weight_decay": 0.1} for each in trained]
    return make_optimizer(groups, Settings(name), torch.device("cpu"))


def step(optimizer: Optimizer, trained: list[Parameter], *, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for each in trained:
        each.grad = torch.randn(each.shape, generator=generator)
    optimizer.step()


def tensors(optimizer: Optimizer) -> list[Tensor]:
    values = [value for state in optimizer.state.values() for value in state.values()]
    return [value for value in values if isinstance(value, Tensor)]


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_optimizer_goes_on_as_the_saved_one(name: str) -> None:
    trained = weights()
    first = make(name, trained)
    step(first, trained, seed=1)
    first.param_groups[0]["lr"] = 0.05
    twins = copy.deepcopy(trained)
    second = make(name, twins)
    restore_state(second, copy.deepcopy(first.state_dict()))
    step(first, trained, seed=2)
    step(second, twins, seed=2)
    assert all(torch.equal(one, other) for one, other in zip(trained, twins, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_restored_lies_where_state_was_allocated(name: str) -> None:
    """State that is paged stays so, and is never there twice."""
    trained = weights()
    optimizer = make(name, trained)
    allocated = tensors(optimizer)
    restore_state(optimizer, copy.deepcopy(make(name, weights()).state_dict()))
    assert allocated and all(one is other for one, other in zip(allocated, tensors(optimizer), strict=True))


def test_state_of_fewer_weights_is_refused() -> None:
    saved = make("adamw", weights()[:1]).state_dict()
    with pytest.raises(ValueError, match="argument"):
        restore_state(make("adamw", weights()), saved)


def test_state_of_weights_of_another_shape_is_refused() -> None:
    saved = make("adamw", [Parameter(torch.ones(1, 128)), Parameter(torch.ones(16))]).state_dict()
    with pytest.raises(ValueError, match="shape"):
        restore_state(make("adamw", weights()), saved)


def test_state_of_another_optimizer_is_refused() -> None:
    saved = make("adamw", weights()).state_dict()
    with pytest.raises(ValueError, match="other state"):
        restore_state(make("sgd", weights()), saved)
