from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from tuneyard.recipes.optimization import clipped_step

Make = Callable[[list[Tensor]], Optimizer]
MAKERS: list[Make] = [
    lambda weights: AdamW(weights, lr=0.1, fused=True),
    lambda weights: SGD(weights, lr=0.1, momentum=0.9, fused=True),
]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("size", [0.01, 100.0])
def test_a_clipped_step_is_clipping_and_a_step(make: Make, size: float) -> None:
    ours, theirs = _weights(), _weights()
    our_optimizer, their_optimizer = make(ours), make(theirs)
    for step in range(3):
        for weights in (ours, theirs):
            _give_gradients(weights, size, seed=step)
        clipped_step(our_optimizer, ours, max_norm=1.0)
        nn.utils.clip_grad_norm_(theirs, 1.0)
        their_optimizer.step()
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their)


def test_weights_without_gradients_stay_as_they_are() -> None:
    weights = _weights()
    before = weights[1].clone()
    _give_gradients(weights[:1], 1.0, seed=0)
    clipped_step(MAKERS[0](weights), weights, max_norm=1.0)
    assert torch.equal(weights[1], before)


def test_a_later_step_without_clipping_is_not_clipped() -> None:
    weights, plain = _weights(), _weights()
    optimizer, reference = (SGD(each, lr=0.1, fused=True) for each in (weights, plain))
    _give_gradients(weights, 100.0, seed=0)
    clipped_step(optimizer, weights, max_norm=1e9)
    optimizer.step()
    _give_gradients(plain, 100.0, seed=0)
    reference.step()
    reference.step()
    torch.testing.assert_close(weights, plain)


def _weights() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(size, generator=generator)) for size in ((33, 7), (5,))]


def _give_gradients(weights: list[Tensor], size: float, *, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in weights:
        weight.grad = size * torch.randn(weight.shape, generator=generator)
