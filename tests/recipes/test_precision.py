import time
from collections.abc import Callable

import pytest
import torch

from tuneyard.recipes.precision import Precision, faster_of, measured_on_cpu


def steps(seconds: dict[str, list[float]]) -> Callable[[Precision], Callable[[], None]]:
    """Steps that take what stands first in their list."""
    return lambda precision: lambda: time.sleep(seconds[precision].pop(0) if seconds[precision] else 0.01)


def test_the_best_of_several_turns_counts() -> None:
    seconds = measured_on_cpu(steps({"fp32": [0.1, 0.001], "bf16": [0.1, 0.1]}))
    assert 0.001 <= (seconds["fp32"] or 0) < 0.01 <= (seconds["bf16"] or 0) < 0.1


def test_random_numbers_stay_as_they_were() -> None:
    state = torch.get_rng_state()
    measured_on_cpu(lambda _: lambda: torch.rand(3).sum().item())
    assert torch.equal(torch.get_rng_state(), state)


def test_what_does_not_work_is_no_candidate() -> None:
    def prepare(precision: Precision) -> Callable[[], None]:
        def step() -> None:
            if precision == "bf16":
                raise RuntimeError("no kernel for this")

        return step

    assert measured_on_cpu(prepare)["bf16"] is None


def test_memory_that_runs_out_is_told() -> None:
    def step() -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")

    with pytest.raises(RuntimeError, match="allocate"):
        measured_on_cpu(lambda _: step)


@pytest.mark.parametrize(
    ("fp32", "bf16", "chosen"), [(1.2, 1.0, "bf16"), (1.05, 1.0, "fp32"), (1.0, None, "fp32")]
)
def test_bf16_must_be_clearly_faster(fp32: float, bf16: float | None, chosen: str) -> None:
    assert faster_of({"fp32": fp32, "bf16": bf16}) == chosen
