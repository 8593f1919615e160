import pytest
import torch

from tuneyard.trainer.run import AdviceKind
from tuneyard.vision.advice import TrainingWatch
from tuneyard.vision.evaluation import Evaluation


@pytest.fixture
def run(draw, start):
    return start(draw())


@pytest.fixture
def watch(run, configure):
    return TrainingWatch(configure(), run, device=torch.device("cpu"))


def evaluation(loss: float) -> Evaluation:
    return Evaluation(loss, 0.5, 1.0, torch.zeros(2, 2))


def kinds(run) -> list[AdviceKind]:
    return [advice["kind"] for advice in run.all_of("advice")]


def test_validation_loss_that_rises_while_training_loss_falls_is_overfitting(run, watch) -> None:
    for train_loss, eval_loss in ((1.0, 1.0), (0.8, 1.1), (0.6, 1.2)):
        watch.stepped(1, train_loss)
        watch.evaluated(evaluation(eval_loss))
    assert kinds(run) == []
    watch.stepped(4, 0.4)
    watch.evaluated(evaluation(1.3))
    assert kinds(run) == [AdviceKind.OVERFITTING]


def test_a_loss_that_stays_is_told(run, watch) -> None:
    for step in range(120):
        watch.stepped(step, 1.0)
    watch.evaluated(evaluation(1.0))
    assert kinds(run) == [AdviceKind.NOT_DECREASING]


def test_a_loss_that_rises_far_is_told(run, watch) -> None:
    for step in range(40):
        watch.stepped(step, 1.0)
    for step in range(40):
        watch.stepped(step, 5.0)
    assert kinds(run) == [AdviceKind.DIVERGING]


def test_time_spent_on_images_is_told(run, watch) -> None:
    for step in range(100):
        watch.stepped(step, 1.0 / (step + 1))
    watch.rendered(1000.0)
    watch.evaluated(evaluation(1.0))
    assert kinds(run) == [AdviceKind.DATA_STARVED]


def test_a_good_training_is_left_in_peace(run, watch) -> None:
    for step in range(200):
        watch.stepped(step, 1.0 / (step + 1))
        if step % 20 == 0:
            watch.evaluated(evaluation(1.0 / (step + 1)))
    assert kinds(run) == []
