import math

import pytest
import torch
from torch import nn

from tuneyard.recipes.checkpoint_state import is_finite


@pytest.fixture
def model() -> nn.Module:
    made = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    made[0].weight.requires_grad_(False)
    return made


def spoil(tensor: torch.Tensor) -> None:
    with torch.no_grad():
        tensor.view(-1)[2] = math.nan


def test_numbers_are_finite(model) -> None:
    assert is_finite(model)


def test_a_trained_weight_or_a_buffer_that_is_no_number_is_seen(model) -> None:
    for tensor in (model[0].bias, model[1].running_var):
        kept = tensor.clone()
        spoil(tensor)
        assert not is_finite(model)
        with torch.no_grad():
            tensor.copy_(kept)


def test_what_is_frozen_is_not_looked_at(model) -> None:
    spoil(model[0].weight)
    assert is_finite(model)


def test_a_model_without_anything_trained_is_finite() -> None:
    assert is_finite(nn.Linear(2, 2).requires_grad_(False))
