"""What a watched training is told: on curves that show one thing each."""

from dataclasses import replace

import pytest

from tuneyard.recipes.watch import TrainingWatch
from tuneyard.trainer.curves import Curves
from tuneyard.trainer.run import AdviceKind
from tuneyard.vision.advice import classifier_subject


@pytest.fixture
def run(draw, start):
    return start(draw())


@pytest.fixture
def losses() -> Curves:
    return Curves()


@pytest.fixture
def watch(run, configure, losses):
    """A watch of a classifier of ten classes, at the usual rate."""
    subject = classifier_subject(configure(learning_rate=1e-4), run.dataset().report, classes=10)
    return TrainingWatch(subject, run, losses=losses)


def only(run) -> dict:
    (advice,) = run.all_of("advice")
    return advice


def overfit(watch: TrainingWatch, *, evaluations: int = 4) -> None:
    for number in range(evaluations):
        watch.stepped(1.0 - 0.2 * number)
        watch.evaluated(1.0 + 0.1 * number)


def test_overfitting_is_told_with_the_remedies_in_the_guides_order(run, watch) -> None:
    overfit(watch)
    advice = only(run)
    assert advice["kind"] is AdviceKind.OVERFITTING
    assert "from 1 to 0.4" in advice["observation"] and "from 1 to 1.3" in advice["observation"]
    words = ["training data", "augmentation", "dropout", "Reduce the model", "early stopping"]
    assert [word in told for word, told in zip(words, advice["remedies"], strict=True)] == [True] * 5
    assert advice["changes"] == {
        "image_classifier.dropout": 0.4,
        "image_classifier.augmentation.randaugment_magnitude": 9,
        "early_stopping.patience": 3,
    }


def test_overfitting_is_not_told_after_two_worse_evaluations(run, watch) -> None:
    overfit(watch, evaluations=3)
    assert run.all_of("advice") == []


def test_a_resumed_run_does_not_repeat_advice(run, configure, watch, losses) -> None:
    overfit(watch)
    resumed = Curves()
    resumed.load_state_dict(losses.state_dict())
    next_run = run.resumed()
    subject = classifier_subject(configure(), run.dataset().report, classes=10)
    TrainingWatch(subject, next_run, losses=resumed).evaluated(1.5)
    assert next_run.all_of("advice") == []


def stall(watch: TrainingWatch) -> None:
    for _ in range(120):
        watch.stepped(2.3)
    watch.evaluated(2.3)


def test_a_flat_loss_at_the_usual_rate_leads_to_the_datasets_findings(run, configure, losses) -> None:
    report = replace(run.dataset().report, counts={"DUPLICATE_IN_CLASSES": 12, "IMAGE_TRUNCATED": 3})
    subject = classifier_subject(configure(learning_rate=1e-4), report, classes=10)
    stall(TrainingWatch(subject, run, losses=losses))
    advice = only(run)
    assert advice["kind"] is AdviceKind.NOT_DECREASING and advice["changes"] == {}
    assert "15 findings (12 of DUPLICATE_IN_CLASSES, 3 of IMAGE_TRUNCATED)" in advice["remedies"][0]
    assert "samples/first-batch.png" in advice["remedies"][1]
    assert [told.startswith("If that does not help: ") for told in advice["remedies"]] == [False] * 2 + [
        True
    ] * 2


@pytest.mark.parametrize(("rate", "told"), [(1e-8, "Raise"), (0.1, "Lower")])
def test_a_flat_loss_at_an_unusual_rate_is_told_the_usual_one(run, configure, losses, rate, told) -> None:
    subject = classifier_subject(configure(learning_rate=rate), run.dataset().report, classes=10)
    stall(TrainingWatch(subject, run, losses=losses))
    advice = only(run)
    assert advice["changes"] == {"hyperparameters.learning_rate": 1e-3}
    assert advice["remedies"][0] == f"{told} the learning rate."


def test_a_jumping_loss_is_told_to_lower_the_rate(run, watch) -> None:
    for step in range(120):
        watch.stepped(2.3 if step < 20 else 2.3 + step % 2)
    watch.evaluated(2.3)
    assert only(run)["changes"] == {"hyperparameters.learning_rate": pytest.approx(1e-4 / 3)}
    assert "jumps by 1" in only(run)["observation"]


def test_data_that_is_slower_than_computing_is_told_with_what_makes_it_slow(run, configure, losses) -> None:
    slow = configure(augmentation=replace(configure().augmentation, randaugment_magnitude=5))
    watch = TrainingWatch(classifier_subject(slow, run.dataset().report, classes=10), run, losses=losses)
    for step in range(100):
        watch.stepped(1 / (step + 1))
        watch.worked(loading_seconds=0.3, step_seconds=0.5)
    watch.evaluated(0.1)
    advice = only(run)
    assert advice["kind"] is AdviceKind.DATA_STARVED and "300 ms (60%)" in advice["observation"]
    assert advice["changes"] == {"image_classifier.augmentation.randaugment_magnitude": 0}


def test_a_diverging_loss_is_returned_and_told_once_the_run_went_back(run, watch) -> None:
    seen = [watch.stepped(2.0) for _ in range(40)] + [watch.stepped(9.0) for _ in range(12)]
    assert seen[-1] is not None and seen[40] is None
    assert not watch.is_sound
    watch.rolled_back(seen[-1], step=40, rate=5e-5)
    advice = only(run)
    assert advice["kind"] is AdviceKind.DIVERGING
    assert "risen to 9" in advice["observation"] and "checkpoint of step 40" in advice["observation"]
    assert advice["changes"] == {"hyperparameters.learning_rate": 5e-5}


def test_a_good_training_is_left_in_peace(run, watch) -> None:
    for step in range(200):
        assert watch.stepped(2.3 / (step + 1)) is None
        watch.worked(loading_seconds=0.1, step_seconds=0.5)
        if step % 20 == 0:
            watch.evaluated(1.0 / (step + 1))
    assert run.all_of("advice") == []
