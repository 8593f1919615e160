"""A training that diverges goes back, once, exactly, and with half the learning rate."""

import math

import pytest
import torch
from safetensors.torch import load_file

from tuneyard.diffusion.text_to_image_lora import train
from tuneyard.diffusion.training import Training
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import AdviceKind

pytestmark = pytest.mark.integration


def poison(patch: pytest.MonkeyPatch, step: int) -> None:
    """Spoils the loss of a step where the learning rate is still the spec's."""
    healthy = Training._loss_sum

    def loss(self, draws):
        counters = self.learner.counters
        found = healthy(self, draws)
        return found * math.nan if counters.rate_factor == 1 and counters.step + 1 == step else found

    patch.setattr(Training, "_loss_sum", loss)


def weights_of(run: FakeRun) -> dict[str, torch.Tensor]:
    return load_file(run.artifacts["pytorch_lora_weights.safetensors"].path)


def test_a_training_that_diverges_goes_back_to_its_last_checkpoint(
    upload, configure, start, monkeypatch
) -> None:
    poison(monkeypatch, 6)
    run = start(upload())
    result = train(configure(save_steps=2), run)
    (back,) = run.all_of("rolled_back")
    assert (back["from_step"], back["to_step"], back["learning_rate_factor"]) == (6, 4, 0.5)
    (advice,) = run.all_of("advice")
    assert advice["kind"] is AdviceKind.DIVERGING
    assert advice["changes"] == {"hyperparameters.learning_rate": 5e-4}
    assert result.step == 8


@pytest.mark.parametrize("poisoned", [2, 6], ids=["before-any-checkpoint", "later"])
def test_the_state_gone_back_to_is_that_of_the_step_to_the_bit(
    upload, configure, start, tmp_path, poisoned
) -> None:
    """Two trainings that go back to one step from different ones make the same steps from there."""
    files, config = upload(), configure(save_steps=4, train_text_encoder=True)
    runs = []
    for step in (poisoned, poisoned + 1):
        with pytest.MonkeyPatch.context() as patch:
            poison(patch, step)
            runs.append(start(files, root=tmp_path / str(step)))
            train(config, runs[-1])
    expected, found = map(weights_of, runs)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_the_base_is_told_once_though_the_run_goes_back_to_its_beginning(
    upload, configure, start, monkeypatch
) -> None:
    poison(monkeypatch, 2)
    run = start(upload())
    train(configure(), run)
    assert [step for step, _ in run.series("eval/loss")] == [0, 4, 8]


def test_what_diverges_again_fails(upload, configure, start) -> None:
    config = configure(learning_rate=1e30, max_grad_norm=0.0, optimizer="sgd", warmup_steps=0)
    with pytest.raises(RecipeError) as failed:
        train(config, start(upload()))
    assert failed.value.reason == "DIVERGED"
