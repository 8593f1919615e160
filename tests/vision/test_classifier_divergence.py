"""A classifier that diverges goes back, once, exactly, and with half the learning rate."""

import math

import pytest
import torch
from safetensors.torch import load_file

from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import AdviceKind
from tuneyard.vision.classifier import train
from tuneyard.vision.config import Augmentation
from tuneyard.vision.training import Training

RANDOM = Augmentation(crop_min_scale=0.5, horizontal_flip=0.5, randaugment_magnitude=5, mixup_alpha=0.2)


def poison(patch: pytest.MonkeyPatch, step: int) -> None:
    """Spoils the loss of a step where the learning rate is still the spec's."""
    healthy = Training._loss

    def loss(self, plan, labels, members):
        counters = self.learner.counters
        found = healthy(self, plan, labels, members)
        return found * math.nan if counters.rate_factor == 1 and counters.step + 1 == step else found

    patch.setattr(Training, "_loss", loss)


def weights_of(run: FakeRun) -> dict[str, torch.Tensor]:
    return load_file(run.artifacts["model.safetensors"].path)


def assert_equal_weights(one: FakeRun, other: FakeRun) -> None:
    found = weights_of(other)
    assert all(torch.equal(found[name], value) for name, value in weights_of(one).items())


def after_rollback(run: FakeRun, metric: str) -> list[tuple[int, float]]:
    """The points of a metric that hold: those of before, up to the step gone back to, and those after."""
    kinds = [report.kind for report in run.reported]
    back = run.reported[kinds.index("rolled_back")].values["to_step"]
    points: list[tuple[int, float]] = []
    for report in run.reported:
        if report.kind == "rolled_back":
            points = [point for point in points if point[0] <= back]
        elif report.kind == "metrics" and metric in report.values["values"]:
            points.append((report.values["step"], report.values["values"][metric]))
    return points


def test_a_training_that_diverges_goes_back_to_its_last_checkpoint(
    draw, configure, start, monkeypatch
) -> None:
    poison(monkeypatch, 6)
    run = start(draw())
    result = train(configure(epochs=3, save_steps=2), run)
    (back,) = run.all_of("rolled_back")
    assert (back["from_step"], back["to_step"], back["learning_rate_factor"]) == (6, 4, 0.5)
    assert "loss became nan at step 6" in back["reason"]
    assert [warning["code"] for warning in run.all_of("warning")] == ["rolled_back"]
    (advice,) = run.all_of("advice")
    assert advice["kind"] is AdviceKind.DIVERGING
    assert advice["changes"] == {"hyperparameters.learning_rate": 5e-4}
    assert result.step == 12
    assert [step for step, _ in after_rollback(run, "train/loss")] == list(range(1, 13))


def test_the_learning_rate_is_half_the_schedules_from_there_on(
    draw, configure, start, monkeypatch, tmp_path
) -> None:
    files, config = draw(), configure(save_steps=2)
    whole = start(files, root=tmp_path / "whole")
    train(config, whole)
    poison(monkeypatch, 6)
    run = start(files, root=tmp_path / "back")
    train(config, run)
    expected = [(step, rate if step <= 4 else rate / 2) for step, rate in whole.series("train/learning_rate")]
    assert after_rollback(run, "train/learning_rate") == expected


@pytest.mark.integration
@pytest.mark.parametrize("poisoned", [3, 6, 11], ids=["before-any-checkpoint", "first-epoch", "later"])
def test_the_state_gone_back_to_is_that_of_the_step_to_the_bit(
    draw, configure, start, tmp_path, poisoned
) -> None:
    """Two trainings that go back to one step from different ones make the same steps from there."""
    files = draw()
    config = configure(epochs=3, save_steps=5, augmentation=RANDOM, ema_decay=0.9, optimizer="sgd")
    runs = []
    for step in (poisoned, poisoned + 1):
        with pytest.MonkeyPatch.context() as patch:
            poison(patch, step)
            runs.append(start(files, root=tmp_path / str(step)))
            train(config, runs[-1])
    assert after_rollback(runs[0], "train/loss") == after_rollback(runs[1], "train/loss")
    assert_equal_weights(*runs)


@pytest.mark.integration
@pytest.mark.parametrize("killed_at", [5, 8], ids=["before-the-next-checkpoint", "after-it"])
def test_a_training_killed_after_it_went_back_ends_bitwise_the_same(
    draw, configure, start, monkeypatch, tmp_path, killed_at
) -> None:
    poison(monkeypatch, 6)
    files, config = draw(), configure(save_steps=2, augmentation=RANDOM)
    whole = start(files, root=tmp_path / "whole")
    train(config, whole)
    killed = start(files, root=tmp_path / "parts")

    def progress(*, step, **values):
        if killed.all_of("rolled_back") and step == killed_at:
            raise RuntimeError("killed")

    killed.progress = progress
    with pytest.raises(RuntimeError, match="killed"):
        train(config, killed)
    resumed = killed.resumed()
    train(config, resumed)
    assert resumed.all_of("rolled_back") == []
    assert_equal_weights(whole, resumed)


@pytest.mark.integration
def test_a_training_paused_after_it_went_back_ends_bitwise_the_same(
    draw, configure, start, monkeypatch, tmp_path
) -> None:
    poison(monkeypatch, 6)
    files, config = draw(), configure(save_steps=2, augmentation=RANDOM)
    whole = start(files, root=tmp_path / "whole")
    train(config, whole)
    paused = start(files, root=tmp_path / "parts", stop=Stop.PAUSE, stop_after=7)
    with pytest.raises(Stopped):
        train(config, paused)
    resumed = paused.resumed()
    train(config, resumed)
    assert_equal_weights(whole, resumed)


def test_what_diverges_again_fails(draw, configure, start) -> None:
    config = configure(learning_rate=1e30, max_grad_norm=0.0, optimizer="sgd", warmup_steps=0)
    run = start(draw())
    with pytest.raises(RecipeError) as failed:
        train(config, run)
    assert failed.value.reason == "DIVERGED"
    assert "half the learning rate does not help" in failed.value.message
    assert "learning_rate" in failed.value.remedies[0]
    assert [back["to_step"] for back in run.all_of("rolled_back")] == [0]


def test_weights_that_are_no_numbers_are_never_saved(draw, configure, start, monkeypatch) -> None:
    healthy = Training._update

    def spoiled(self) -> None:
        healthy(self)
        if self.learner.counters.step == 3 and self.learner.counters.rate_factor == 1:
            next(self.learner.model.parameters()).data[0] = math.inf

    monkeypatch.setattr(Training, "_update", spoiled)
    run = start(draw())
    train(configure(save_steps=4), run)
    (back,) = run.all_of("rolled_back")
    assert (back["from_step"], back["to_step"]) == (4, 0)


def test_halvings_of_the_micro_batch_outlast_going_back(draw, configure, start, monkeypatch) -> None:
    poison(monkeypatch, 6)
    run = start(draw(), faults="oom@step=2")
    train(configure(save_steps=4, dropout=0.0), run)
    assert len(run.all_of("out_of_memory_recovered")) == 1
    assert len(run.all_of("rolled_back")) == 1
