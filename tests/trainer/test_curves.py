"""Curves that were built to show one thing each, and healthy ones."""

import math
import random
from collections.abc import Callable, Iterable

import pytest

from tuneyard.trainer import curves
from tuneyard.trainer.curves import Cause, Curves

CHANCE = math.log(10)


def of(losses: Iterable[float]) -> Curves:
    made = Curves()
    for loss in losses:
        made.add(loss)
    return made


def noisy(shape: Callable[[int], float], *, steps: int = 200, noise: float = 0.05) -> list[float]:
    draw = random.Random(1)
    return [shape(step) * (1 + draw.gauss(0, noise)) for step in range(steps)]


def judged(losses: list[float], *, rate: float = 1e-4) -> Cause | None:
    found = curves.stall(of(losses), rate=rate, usual_rate=1e-4, chance=CHANCE)
    return found.cause if found else None


HEALTHY = [
    pytest.param(noisy(lambda step: CHANCE * math.exp(-step / 60)), id="fast"),
    pytest.param(noisy(lambda step: CHANCE * (1 - step / 2000), steps=400), id="slow"),
    pytest.param(noisy(lambda step: 0.3 + 2 * math.exp(-step / 40), noise=0.15), id="to-a-floor"),
    pytest.param(noisy(lambda step: 0.02, noise=0.5), id="fine-from-the-start"),
    pytest.param(noisy(lambda step: CHANCE if step < 60 else CHANCE * 0.7, noise=0.1), id="late"),
]


@pytest.mark.parametrize("losses", HEALTHY)
def test_nothing_is_said_of_a_healthy_curve(losses: list[float]) -> None:
    made = Curves()
    for loss in losses:
        made.add(loss)
        assert curves.divergence(made, chance=CHANCE) is None
        assert curves.is_sound(made, chance=CHANCE)
    assert curves.stall(made, rate=1e-4, usual_rate=1e-4, chance=CHANCE) is None


def test_a_loss_that_creeps_down_speaks_for_a_rate_that_is_too_low() -> None:
    assert judged(noisy(lambda step: CHANCE * (1 - step / 15_000), noise=0.0005)) is Cause.RATE_TOO_LOW


def test_a_flat_loss_at_a_tiny_rate_speaks_for_a_rate_that_is_too_low() -> None:
    assert judged(noisy(lambda step: CHANCE), rate=1e-8) is Cause.RATE_TOO_LOW


def test_a_loss_that_jumps_about_speaks_for_a_rate_that_is_too_high() -> None:
    jumping = noisy(lambda step: CHANCE, steps=20) + noisy(lambda step: CHANCE, noise=0.3)
    assert judged(jumping) is Cause.RATE_TOO_HIGH


def test_a_loss_above_its_start_speaks_for_a_rate_that_is_too_high() -> None:
    assert judged(noisy(lambda step: CHANCE * (1 + min(step, 100) / 400))) is Cause.RATE_TOO_HIGH


def test_a_loss_that_shot_up_and_stays_flat_speaks_for_a_rate_that_is_too_high() -> None:
    assert judged([CHANCE] * 3 + [100.0] * 5 + [CHANCE] * 200) is Cause.RATE_TOO_HIGH


def test_one_hard_batch_at_the_end_is_no_stall() -> None:
    assert judged([*noisy(lambda step: CHANCE * math.exp(-step / 40)), *[0.01] * 19, 50.0]) is None


def test_a_flat_loss_at_a_huge_rate_speaks_for_a_rate_that_is_too_high() -> None:
    assert judged(noisy(lambda step: CHANCE), rate=0.1) is Cause.RATE_TOO_HIGH


def test_a_flat_loss_at_a_usual_rate_speaks_for_the_data() -> None:
    found = curves.stall(of(noisy(lambda step: CHANCE)), rate=1e-4, usual_rate=1e-4, chance=CHANCE)
    assert found is not None and found.cause is Cause.DATA
    assert "guessing (2.3)" in found.observation


def test_a_loss_is_not_judged_before_a_hundred_steps() -> None:
    assert judged([CHANCE] * 99) is None
    assert judged([CHANCE] * 100) is not None


def test_a_loss_far_above_its_start_diverges() -> None:
    made = of(noisy(lambda step: CHANCE, steps=40) + [4 * CHANCE] * 9)
    assert curves.divergence(made, chance=CHANCE) is None
    for _ in range(3):
        made.add(4 * CHANCE)
    assert "risen to 9.21" in (curves.divergence(made, chance=CHANCE) or "")


def test_a_loss_that_explodes_at_once_diverges() -> None:
    assert curves.divergence(of([2.0, 2.1, 1.9, *[2.0 * 3**step for step in range(16)]])) is not None


def test_single_spikes_are_no_divergence() -> None:
    losses = [1000.0 if step % 10 == 9 else 1.0 for step in range(100)]
    assert curves.divergence(of(losses)) is None


def test_a_start_that_is_too_low_to_be_true_counts_as_the_usual_one() -> None:
    # A detector of random weights, 64 px: hardly a box is assigned at first, and the loss is near zero.
    losses = [0.3, 0.4, 3.6, 5.3, 0.6, 4.6, 11.6, 0.4, 0.5, 9.4, 0.4, 3.2, 14.3, 1.0, 1.8, 10.1, 0.3]
    losses += [8.0 * math.exp(-step / 500) + 2 * (step % 3) for step in range(120)]
    made = Curves()
    for loss in losses:
        made.add(loss)
        assert curves.divergence(made, least_start=11.7) is None
        assert curves.is_sound(made, least_start=11.7)
    assert curves.stall(made, rate=1e-3, usual_rate=1e-3, least_start=11.7) is None
    assert curves.stall(made, rate=1e-3, usual_rate=1e-3) is not None, "without it, a rise"
    for _ in range(20):
        made.add(30.0)
    assert curves.divergence(made, least_start=11.7) is not None


def test_a_loss_that_rises_is_not_sound_before_it_diverges() -> None:
    made = of([2.0] * 20 + [1.0] * 20 + [2.6] * 11)
    assert curves.divergence(made) is None
    assert not curves.is_sound(made)


def test_a_rising_validation_loss_beside_a_falling_training_loss_is_overfitting() -> None:
    pairs = [(2.0, 2.0), (1.0, 1.2), (0.7, 1.3), (0.5, 1.35), (0.3, 1.5)]
    told = curves.overfitting(pairs)
    assert told is not None and "from 1 to 0.3" in told and "from 1.2 to 1.5" in told
    assert curves.overfitting(pairs[:-1]) is None


@pytest.mark.parametrize(
    "pairs",
    [
        [(2.0, 2.0), (1.0, 1.1), (0.8, 1.0), (0.7, 0.95), (0.65, 0.93)],
        [(0.5, 0.10), (0.05, 0.030), (0.04, 0.033), (0.03, 0.034), (0.02, 0.033)],
        [(1.0, 1.0), (1.0, 1.3), (1.1, 1.4), (1.0, 1.5)],
        [(2.0, 2.0), (1.0, 1.0), (0.9, 1.2), (0.8, 1.3), (0.7, 1.01)],
    ],
    ids=["falls", "noise-near-zero", "training-stays", "comes-back"],
)
def test_other_validation_losses_are_no_overfitting(pairs: list[tuple[float, float]]) -> None:
    assert curves.overfitting(pairs) is None


def test_loading_that_takes_longer_than_computing_is_told() -> None:
    told = curves.starvation(loading_seconds=6.0, step_seconds=10.0, steps=100)
    assert told == ("Of 100 ms a step, 60 ms (60%) go into preparing data: computing waits for it.")
    assert curves.starvation(loading_seconds=4.0, step_seconds=10.0, steps=100) is None
    assert curves.starvation(loading_seconds=6.0, step_seconds=10.0, steps=99) is None


def test_unequal_classes_are_told() -> None:
    assert curves.imbalance({"cat": 51, "dog": 10}, unit="images") == (
        "Class 'cat' has 51 images, 'dog' has 10."
    )
    assert curves.imbalance({"cat": 50, "dog": 10}, unit="images") is None


def test_curves_stay_small_and_go_on_where_they_were() -> None:
    losses = noisy(lambda step: 1 / (step + 1), steps=10_000)
    whole, begun, resumed = of(losses), of(losses[:7001]), Curves()
    begun.evaluated(0.5)
    whole.evaluations = [begun.evaluations[0]]
    resumed.load_state_dict(begun.state_dict())
    for loss in losses[7001:]:
        resumed.add(loss)
    assert len(whole.blocks) < 64
    whole._since_evaluation = resumed._since_evaluation
    assert resumed == whole
