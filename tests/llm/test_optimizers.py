"""Optimizers: their state is there before the first step, and is what the first step would have made."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from tuneyard.llm.adapters import add_adapter
from tuneyard.llm.base_model import load_base
from tuneyard.llm.config import LanguageModelConfig, Lora
from tuneyard.llm.optimizers import make_optimizer
from tuneyard.recipes.optimizers import restore_state
from tuneyard.recipes.trained_weights import trained_parameters

Configure = Callable[..., LanguageModelConfig]
CPU = torch.device("cpu")
NAMES = ["adamw", "sgd", "adamw_8bit", "paged_adamw_8bit"]


@pytest.fixture
def model(tiny_base: Path, configure: Configure) -> nn.Module:
    """With adapters large enough that an 8-bit optimizer keeps 8 bits of them."""
    config = configure(lora=Lora(r=128, dropout=0.0))
    torch.manual_seed(0)
    return add_adapter(load_base(tiny_base, config, device=CPU, precision="fp32"), config)


def step(model: nn.Module, optimizer: Optimizer) -> None:
    generator = torch.Generator().manual_seed(0)
    for value in trained_parameters(model):
        value.grad = torch.randn(value.shape, generator=generator)
    optimizer.step()
    optimizer.zero_grad()


def state_bytes(optimizer: Optimizer) -> int:
    tensors = [v for state in optimizer.state.values() for v in state.values() if isinstance(v, torch.Tensor)]
    return sum(each.numel() * each.element_size() for each in {id(each): each for each in tensors}.values())


@pytest.mark.parametrize("name", NAMES)
def test_state_is_allocated_before_the_first_step(model: nn.Module, configure: Configure, name: str) -> None:
    optimizer = make_optimizer(model, configure(optimizer=name), CPU)
    before = state_bytes(optimizer)
    step(model, optimizer)
    assert before == state_bytes(optimizer) > 0


@pytest.mark.parametrize("name", NAMES)
def test_allocated_state_changes_no_step(model: nn.Module, configure: Configure, name: str) -> None:
    twin: Any = copy.deepcopy(model)
    config = configure(optimizer=name, weight_decay=0.1)
    ours, plain = make_optimizer(model, config, CPU), make_optimizer(twin, config, CPU)
    plain.state.clear()
    for _ in range(2):
        step(model, ours)
        step(twin, plain)
    for mine, theirs in zip(trained_parameters(model), trained_parameters(twin), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_8_bits_need_less_than_half_of_the_state(model: nn.Module, configure: Configure) -> None:
    whole, small = (make_optimizer(model, configure(optimizer=name), CPU) for name in ("adamw", "adamw_8bit"))
    assert state_bytes(small) < 0.5 * state_bytes(whole)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_optimizer_goes_on_as_it_would_have(
    model: nn.Module, configure: Configure, name: str
) -> None:
    config = configure(optimizer=name)
    first = make_optimizer(model, config, CPU)
    step(model, first)
    twin: Any = copy.deepcopy(model)
    second = make_optimizer(twin, config, CPU)
    restore_state(second, copy.deepcopy(first.state_dict()))
    for pair in ((model, first), (twin, second)):
        step(*pair)
    for mine, theirs in zip(trained_parameters(model), trained_parameters(twin), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
