"""What a watched detector's training is told, in the words and settings of its task."""

from collections.abc import Callable
from typing import Any

import pytest

from tuneyard.recipes.watch import TrainingWatch
from tuneyard.trainer.curves import Curves
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import AdviceKind
from tuneyard.vision.detector_advice import detector_subject
from tuneyard.vision.detector_config import DetectionAugmentation


@pytest.fixture
def run(shapes, start) -> FakeRun:
    return start(shapes())


@pytest.fixture
def watch(run, configure_detector) -> Callable[..., TrainingWatch]:
    def made(**changes: Any) -> TrainingWatch:
        config = configure_detector(augmentation=DetectionAugmentation(), **changes)
        return TrainingWatch(detector_subject(config, run.dataset().report), run, losses=Curves())

    return made


def only(run: FakeRun) -> dict[str, Any]:
    (advice,) = run.all_of("advice")
    return advice


def overfit(watch: TrainingWatch) -> None:
    for number in range(4):
        watch.stepped(1.0 - 0.2 * number)
        watch.evaluated(1.0 + 0.1 * number)


def test_overfitting_is_told_with_the_remedies_in_the_guides_order(run, watch) -> None:
    overfit(watch())
    advice = only(run)
    assert advice["kind"] is AdviceKind.OVERFITTING
    words = ["training data", "augmentation", "Reduce the model", "early stopping"]
    assert [word in told for word, told in zip(words, advice["remedies"], strict=True)] == [True] * 4
    assert advice["changes"] == {"object_detector.augmentation.mixup": 0.1, "early_stopping.patience": 10}


def test_what_is_on_already_or_cannot_be_is_not_offered(run, watch) -> None:
    overfit(watch(patience=4, rectangular=True))
    assert only(run)["changes"] == {}


def test_a_flat_loss_at_an_unusual_rate_is_told_the_usual_one(run, watch) -> None:
    watched = watch(learning_rate=1e-8)
    for _ in range(120):
        watched.stepped(9.0)
    watched.evaluated(9.0)
    assert only(run)["changes"] == {"hyperparameters.learning_rate": 1e-3}


def test_images_that_take_longer_than_the_network_are_told(run, watch) -> None:
    watched = watch()
    for step in range(100):
        watched.stepped(1 / (step + 1))
        watched.worked(loading_seconds=0.3, step_seconds=0.5)
    watched.evaluated(0.1)
    advice = only(run)
    assert advice["kind"] is AdviceKind.DATA_STARVED
    assert "mosaic" in " ".join(advice["remedies"])


def test_a_good_training_is_left_in_peace(run, watch) -> None:
    watched = watch()
    for step in range(200):
        assert watched.stepped(9.0 / (step + 1)) is None
        watched.worked(loading_seconds=0.1, step_seconds=0.5)
        if step % 20 == 0:
            watched.evaluated(5.0 / (step + 1))
    assert run.all_of("advice") == []
