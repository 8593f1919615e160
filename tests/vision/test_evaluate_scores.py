import pytest
import torch

from tuneyard.vision.evaluate_scores import (
    Predictions,
    answers,
    calibration_bins,
    joined,
    most_confused,
    score,
)


def predictions(truth: list[int], guesses: list[int], confidence: list[float]) -> Predictions:
    return Predictions(
        truth=torch.tensor(truth),
        ranking=torch.tensor(guesses).unsqueeze(1),
        confidence=torch.tensor(confidence),
        losses=-torch.tensor(confidence).log(),
    )


def test_answers_are_ranked_with_their_probability_and_loss() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])
    found = answers(logits, torch.tensor([2, 0]))
    assert found.ranking.tolist() == [[1, 2, 0], [0, 1, 2]]
    assert found.confidence.tolist() == pytest.approx(logits.softmax(1).amax(1).tolist())
    assert found.losses.tolist() == pytest.approx([1.4076, 0.0949], abs=1e-4)
    assert found.right.tolist() == [False, True]


def test_a_loss_is_right_where_the_probability_underflows() -> None:
    found = answers(torch.tensor([[0.0, 400.0]]), torch.tensor([0]))
    assert found.losses.tolist() == [400.0]


def test_batches_are_joined_in_order() -> None:
    parts = [predictions([0], [1], [0.6]), predictions([1, 1], [1, 0], [0.7, 0.8])]
    assert joined(parts).truth.tolist() == [0, 1, 1]
    assert len(joined(parts)) == 3


def test_classes_without_samples_do_not_count_in_averages() -> None:
    found = score(predictions([0, 0, 1], [0, 0, 0], [0.9, 0.9, 0.9]), classes=3)
    assert found.accuracy_top1 == pytest.approx(2 / 3)
    assert [c.support for c in found.classes] == [2, 1, 0]
    assert found.macro.recall == pytest.approx(0.5)
    assert found.weighted.recall == pytest.approx(2 / 3)
    assert found.macro.precision == pytest.approx(1 / 3)


def test_accuracy_among_five_counts_the_whole_ranking() -> None:
    logits = torch.eye(6)[[0, 0]] * 5 + torch.linspace(1, 0, 6)
    found = score(answers(logits, torch.tensor([4, 5])), classes=6)
    assert (found.accuracy_top1, found.accuracy_top5) == (0.0, 0.5)


def test_accuracy_among_five_of_up_to_five_classes_is_no_metric() -> None:
    few, many = (score(answers(torch.eye(n), torch.arange(n)), classes=n).metrics for n in (5, 6))
    assert "accuracy_top5" not in few and many["accuracy_top5"] == 1.0


def test_calibration_compares_confidence_with_accuracy() -> None:
    sure_and_half_right = predictions([0, 0, 0, 0], [0, 0, 1, 1], [0.95] * 4)
    found = score(sure_and_half_right, classes=2)
    assert found.calibration_error == pytest.approx(0.45, abs=1e-6)
    assert sum(bin.samples for bin in found.calibration) == 4
    right = score(predictions([0, 0], [0, 0], [1.0, 1.0]), classes=2)
    assert right.calibration_error == 0


def test_every_confidence_has_a_bin() -> None:
    bins = calibration_bins(predictions([0, 0, 0], [0, 0, 0], [1e-9, 0.5, 1.0]))
    assert [bin.samples for bin in bins if bin.samples] == [1, 1, 1]
    assert bins[0].samples == bins[-1].samples == 1


def test_the_most_confident_mistakes_come_first() -> None:
    found = predictions([0, 0, 0, 0], [1, 0, 1, 1], [0.6, 0.99, 0.9, 0.7])
    assert found.most_wrong(2) == [2, 3]
    assert predictions([0], [0], [0.5]).most_wrong(5) == []


def test_the_most_frequent_confusions_come_first() -> None:
    confusion = torch.tensor([[9, 2, 0], [5, 9, 0], [0, 0, 9]])
    assert most_confused(confusion, count=4) == [(1, 0, 5), (0, 1, 2)]
