import itertools
import random

import numpy as np
import torch

from tuneyard.recipes.counters import LossHistory
from tuneyard.recipes.random_states import random_states, set_random_states


def test_a_history_of_losses_stays_small_and_even() -> None:
    history = LossHistory()
    for step in range(1, 10_001):
        history.add(step, 1.0 / step)
    steps = [step for step, _ in history.points]
    assert 400 <= len(steps) <= 1000
    assert {b - a for a, b in itertools.pairwise(steps)} == {history.stride}


def test_global_generators_go_on_where_they_were() -> None:
    states = random_states()
    drawn = (random.random(), np.random.rand(), torch.rand(1).item())
    set_random_states(states)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == drawn
