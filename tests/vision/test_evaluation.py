import pytest
import torch
from torch import nn

from tuneyard.trainer.errors import RecipeError
from tuneyard.vision.batches import Augmenter
from tuneyard.vision.config import Augmentation
from tuneyard.vision.evaluation import Evaluation, Evaluator, class_scores, require_measured
from tuneyard.vision.pixels import Pixels

CPU = torch.device("cpu")


class Reader(nn.Module):
    """Reads the class off the image: its first pixel's value."""

    def __init__(self, fails_above: int = 1000) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self._fails_above = fails_above

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self._fails_above:
            raise MemoryError
        self.sizes.append(len(images))
        return nn.functional.one_hot(images[:, 0, 0, 0].round().long(), 6).float() * 20


def evaluator(shown: list[int], labels: list[int], batch_size: int = 4) -> Evaluator:
    data = torch.tensor(shown, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 2, 2, 3)
    pixels = Pixels(data, torch.arange(len(shown)), torch.tensor(labels))
    plain = Augmenter(Augmentation(), image_size=2, mean=(0.0,) * 3, std=(1 / 255,) * 3, seed=0, device=CPU)
    return Evaluator(pixels, plain, classes=6, batch_size=batch_size, precision="fp32", device=CPU)


def test_accuracies_and_confusion_are_counted_over_all_batches() -> None:
    found = evaluator([0, 1, 2, 3, 4, 5, 0], [0, 1, 2, 3, 4, 5, 1]).evaluate(
        Reader(), should_stop=lambda: False
    )
    assert found is not None
    assert found.accuracy_top1 == pytest.approx(6 / 7)
    assert found.confusion.sum() == 7
    assert found.confusion[1].tolist() == [1, 1, 0, 0, 0, 0]
    assert found.loss == pytest.approx(20 / 7, rel=1e-3)


@pytest.mark.parametrize(("classes", "is_told"), [(3, False), (5, False), (6, True)])
def test_accuracy_among_five_is_told_where_there_are_more_classes(classes: int, is_told: bool) -> None:
    found = Evaluation(0.5, 0.9, 1.0, torch.eye(classes))
    assert ("eval/accuracy_top5" in found.metrics) is is_told
    if is_told:
        require_measured("eval/accuracy_top5", classes=classes)
    else:
        with pytest.raises(RecipeError, match="not measured"):
            require_measured("eval/accuracy_top5", classes=classes)
    require_measured("eval/accuracy_top1", classes=classes)


def test_batches_are_halved_where_memory_runs_out() -> None:
    model = Reader(fails_above=2)
    found = evaluator([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], batch_size=6).evaluate(
        model, should_stop=lambda: False
    )
    assert found is not None and found.accuracy_top1 == 1.0
    assert max(model.sizes) <= 2


def test_one_image_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(MemoryError):
        evaluator([0, 1], [0, 1]).evaluate(Reader(fails_above=0), should_stop=lambda: False)


def test_an_evaluation_that_is_stopped_has_no_values() -> None:
    assert evaluator([0, 1], [0, 1]).evaluate(Reader(), should_stop=lambda: True) is None


def test_scores_of_a_class_that_nothing_was_taken_for_are_zero() -> None:
    first, second, third = class_scores(torch.tensor([[3, 1, 0], [1, 5, 0], [0, 2, 0]]))
    assert (first.precision, first.recall, first.support) == (0.75, 0.75, 4)
    assert (second.precision, second.recall) == (pytest.approx(5 / 8), pytest.approx(5 / 6))
    assert (third.precision, third.recall, third.f1, third.support) == (0, 0, 0, 2)
