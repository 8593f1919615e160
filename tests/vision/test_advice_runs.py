"""Real trainings that were built to show one thing each, and one that is healthy."""

import numpy as np
import pytest
from PIL import Image

from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import AdviceKind
from tuneyard.vision.batches import Augmenter
from tuneyard.vision.classifier import train
from tuneyard.vision.config import Augmentation

pytestmark = pytest.mark.integration


def advice_of(run: FakeRun) -> list[AdviceKind]:
    return [advice["kind"] for advice in run.all_of("advice")]


@pytest.fixture
def shuffled(draw):
    """Images whose folders say nothing about them."""

    def shuffle(root) -> None:
        paths = sorted(root.rglob("*.png"))
        generator = np.random.default_rng(3)
        pictures = [Image.open(paths[i]).copy() for i in generator.permutation(len(paths))]
        for path, picture in zip(paths, pictures, strict=True):
            picture.save(path)

    return draw("shuffled", extra=shuffle)


def test_a_healthy_training_is_silent(draw, configure, start) -> None:
    run = start(draw())
    train(configure(architecture="mobilenet_v3_small", epochs=30, learning_rate=3e-4), run)
    assert advice_of(run) == [] and run.all_of("rolled_back") == []


def test_a_rate_that_is_far_too_low_is_told(draw, configure, start) -> None:
    run = start(draw())
    train(configure(epochs=30, learning_rate=1e-8), run)
    (advice,) = run.all_of("advice")
    assert advice["kind"] is AdviceKind.NOT_DECREASING
    assert advice["changes"] == {"hyperparameters.learning_rate": 1e-3}


def test_a_rate_that_is_far_too_high_is_told(draw, configure, start) -> None:
    run = start(draw())
    train(configure(epochs=30, learning_rate=0.1), run)
    told = {advice["kind"]: advice for advice in run.all_of("advice")}
    remedies = told[AdviceKind.NOT_DECREASING]["remedies"]
    assert remedies[0] == "Lower the learning rate."


def test_labels_learned_by_heart_are_told_as_overfitting(shuffled, configure, start) -> None:
    run = start(shuffled)
    train(configure(epochs=60, learning_rate=3e-4, schedule="constant", dropout=0.0), run)
    assert advice_of(run) == [AdviceKind.OVERFITTING]


def test_a_training_that_explodes_goes_back_and_fails_in_the_end(draw, configure, start) -> None:
    run = start(draw())
    config = configure(epochs=20, learning_rate=1.0, optimizer="sgd", max_grad_norm=0.0)
    with pytest.raises(RecipeError) as failed:
        train(config, run)
    assert failed.value.reason == "DIVERGED"
    assert len(run.all_of("rolled_back")) == 1
    (advice,) = run.all_of("advice")
    assert advice["changes"] == {"hyperparameters.learning_rate": 0.5}
    assert "Clip gradients: set max_grad_norm to 1." in advice["remedies"]


def test_images_that_take_longer_than_the_network_are_told(draw, configure, start, monkeypatch) -> None:
    healthy = Augmenter.images

    def slow(self, pixels, plan, members):
        for _ in range(100):
            healthy(self, pixels, plan, members)
        return healthy(self, pixels, plan, members)

    monkeypatch.setattr(Augmenter, "images", slow)
    run = start(draw())
    augmentation = Augmentation(crop_min_scale=0.5, horizontal_flip=0.5)
    train(configure(epochs=26, learning_rate=1e-4, augmentation=augmentation), run)
    assert AdviceKind.DATA_STARVED in advice_of(run)
