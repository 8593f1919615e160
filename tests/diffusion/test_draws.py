"""Orders and random choices that have no state."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from tuneyard.diffusion.draws import Draw, SampleOrder, generator
from tuneyard.diffusion.samples import Sample


def samples(*repeats: int, of_class: int = 0) -> list[Sample]:
    instance = [Sample(Path("x"), str(n), "", times, False, (8, 8)) for n, times in enumerate(repeats)]
    return instance + [Sample(Path("y"), f"c{n}", "", 1, True, (8, 8)) for n in range(of_class)]


def drawn(order: SampleOrder, epoch: int) -> list[Draw]:
    first = epoch * order.steps_per_epoch
    return [draw for step in range(first, first + order.steps_per_epoch) for draw in order.step(step)]


def test_an_epoch_sees_every_sample_as_often_as_its_repeats_say() -> None:
    order = SampleOrder(samples(3, 1, 2), samples_per_step=4, seed=0)
    assert (len(order), order.steps_per_epoch, len(order.step(0)), len(order.step(1))) == (6, 2, 4, 2)
    assert sorted(drawn(order, 5)) == sorted(
        Draw(5, position, repeat) for position, repeat in [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1)]
    )


def test_any_step_can_be_asked_for_at_any_time() -> None:
    one, other = (SampleOrder(samples(*[1] * 20), samples_per_step=3, seed=7) for _ in range(2))
    forward = [one.step(number) for number in range(30)]
    assert [other.step(number) for number in reversed(range(30))] == forward[::-1]


def test_epochs_and_seeds_shuffle_differently() -> None:
    one, other = (SampleOrder(samples(*[1] * 20), samples_per_step=20, seed=seed) for seed in (1, 2))
    orders = [[draw.position for draw in order.step(step)] for order in (one, other) for step in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


@pytest.mark.parametrize("of_class", [1, 3, 9])
def test_an_epoch_has_as_many_class_images_as_others(of_class: int) -> None:
    order = SampleOrder(samples(2, 2, of_class=of_class), samples_per_step=3, seed=0)
    draws = drawn(order, 0)
    assert Counter(draw.position >= 2 for draw in draws) == {False: 4, True: 4}
    assert len(set(draws)) == len(draws) == len(order)


def test_all_class_images_are_seen_over_epochs() -> None:
    order = SampleOrder(samples(2, 2, of_class=9), samples_per_step=8, seed=0)
    seen = {draw.position for epoch in range(3) for draw in drawn(order, epoch)}
    assert seen == set(range(11))


def test_what_is_drawn_depends_on_the_sample_and_the_purpose_alone() -> None:
    places = [Draw(0, 0, 0), Draw(1, 0, 0), Draw(0, 1, 0), Draw(0, 0, 1)]
    values = [
        torch.rand((), generator=generator(seed, place, purpose)).item()
        for seed in (0, 1)
        for place in places
        for purpose in ("noise", "timestep")
    ]
    assert len(set(values)) == len(values)
    assert torch.rand((), generator=generator(0, places[0], "noise")).item() == values[0]
