from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tuneyard.trainer.errors import RecipeError
from tuneyard.vision.batches import Augmenter, SampleOrder
from tuneyard.vision.config import Augmentation
from tuneyard.vision.learner import Learner
from tuneyard.vision.optimization import make_optimizer


@pytest.fixture
def make(configure):
    """A learner of one layer, with the named optimizer and weights of a seed."""

    def made(optimizer: str, *, seed: int) -> Learner:
        torch.manual_seed(seed)
        model = nn.Linear(5, 3)
        return Learner(
            model=model,
            optimizer=make_optimizer(model, configure(optimizer=optimizer)),
            order=SampleOrder(8, seed=seed),
            augmenter=Augmenter(
                Augmentation(),
                image_size=8,
                mean=(0.5,) * 3,
                std=(0.25,) * 3,
                seed=seed,
                device=torch.device("cpu"),
            ),
            precision="fp32",
            scaler=torch.amp.GradScaler("cpu", enabled=False),
            average=None,
            source="random",
        )

    return made


def step(learner: Learner) -> None:
    torch.autograd.backward(learner.model(torch.rand(4, 5)).square().sum())
    learner.optimizer.step()
    learner.optimizer.zero_grad()


def state_of(learner: Learner) -> list[Tensor]:
    return [value for state in learner.optimizer.state.values() for value in state.values()]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_an_optimizer_is_restored_into_the_state_that_is_allocated(make, tmp_path: Path, optimizer) -> None:
    saved, other = make(optimizer, seed=1), make(optimizer, seed=2)
    step(saved)
    saved.save(tmp_path)
    allocated = state_of(other)
    other.restore(tmp_path)
    assert allocated and all(one is now for one, now in zip(allocated, state_of(other), strict=True))
    for learner in (saved, other):
        torch.manual_seed(3)
        step(learner)
    assert torch.equal(saved.model.weight, other.model.weight)


def test_a_checkpoint_of_another_optimizer_is_refused(make, tmp_path: Path) -> None:
    make("adamw", seed=1).save(tmp_path)
    with pytest.raises(RecipeError, match="cannot be continued") as refused:
        make("sgd", seed=1).restore(tmp_path)
    assert refused.value.reason == "CHECKPOINT_CORRUPT"
