"""Noise on embeddings: in training only, of the paper's size, and gone afterwards."""

import pytest
import torch
from torch import Tensor, nn

from tuneyard.llm.neftune import Neftune

LENGTH, WIDTH = 25, 16


class Body(nn.Module):
    """A decoder that does nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(10, WIDTH)

    def forward(self, ids: Tensor, position_ids: Tensor | None = None) -> Tensor:
        embedded: Tensor = self.tokens(ids)
        return embedded


class Embedded(nn.Module):
    """What is needed of a model: its decoder and its embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.base_model = Body()

    def get_input_embeddings(self) -> nn.Module:
        return self.base_model.tokens


@pytest.fixture
def model() -> Embedded:
    return Embedded()


def change(model: Embedded, positions: Tensor | None = None) -> Tensor:
    ids = torch.zeros(2, LENGTH, dtype=torch.int64)
    changed: Tensor = model.base_model(ids, position_ids=positions) - model.base_model.tokens.weight[0]
    return changed


def test_noise_is_bounded_by_alpha_over_the_root_of_the_size(model: Embedded) -> None:
    with Neftune(model, 5.0):
        noise = change(model)
    bound = 5.0 / (LENGTH * WIDTH) ** 0.5
    assert 0.9 * bound < noise.abs().max() <= bound + 1e-6
    assert abs(noise.mean()) < 0.1 * bound


def test_an_evaluation_sees_no_noise(model: Embedded) -> None:
    with Neftune(model, 5.0):
        model.eval()
        assert change(model).abs().max() == 0


@pytest.mark.parametrize("alpha", [0.0, 5.0])
def test_nothing_is_left_behind(model: Embedded, alpha: float) -> None:
    with Neftune(model, alpha):
        pass
    assert change(model).abs().max() == 0


def test_the_noise_follows_the_global_generator(model: Embedded) -> None:
    with Neftune(model, 5.0):
        torch.manual_seed(1)
        first = change(model)
        torch.manual_seed(1)
        torch.testing.assert_close(change(model), first, rtol=0, atol=0)


def test_a_packed_sample_gets_the_noise_of_its_own_length(model: Embedded) -> None:
    row = torch.cat([torch.arange(4), torch.arange(LENGTH - 4)])
    with Neftune(model, 5.0):
        noise = change(model, torch.stack([row, torch.arange(LENGTH)]))
    for part, length in ((noise[0, :4], 4), (noise[0, 4:], LENGTH - 4), (noise[1], LENGTH)):
        bound = 5.0 / (length * WIDTH) ** 0.5
        assert 0.85 * bound < part.abs().max() <= bound + 1e-6
