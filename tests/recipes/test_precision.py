from collections.abc import Callable
from itertools import count

import pytest
import torch

from tuneyard.recipes import precision as precisions
from tuneyard.recipes.precision import (
    Precision,
    faster_of,
    measured_on_cpu,
    nearest_precision,
    precision_of_checkpoint,
    restore_scaler,
)
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.fake_run import FakeRun

CPU = torch.device("cpu")


@pytest.fixture
def measure(monkeypatch):
    """What is measured where passes in fp32 and bf16 take so long, turn by turn; and the number of turns."""

    def measured(*turns: tuple[float, float]) -> tuple[dict[str, float | None], int]:
        taken = [seconds for turn in turns for seconds in turn]
        passes = count()
        monkeypatch.setattr(precisions, "_seconds", lambda _: taken[next(passes)])
        return measured_on_cpu(lambda _: lambda: None), next(passes) // 2

    return measured


def test_the_best_of_several_turns_counts(measure) -> None:
    seconds, turns = measure((0.9, 0.9), (0.5, 0.4), (0.4, 0.5), (0.5, 0.5), (0.6, 0.6))
    assert (seconds, turns) == ({"fp32": 0.4, "bf16": 0.4}, 5)


@pytest.mark.parametrize("second", [(3.0, 1.0), (1.0, 3.0)])
def test_a_clear_difference_ends_the_measurement(measure, second: tuple[float, float]) -> None:
    seconds, turns = measure((9.0, 9.0), second)
    assert (tuple(seconds.values()), turns) == (second, 2)


def test_short_passes_which_one_disturbance_could_double_are_measured_to_the_end(measure) -> None:
    seconds, turns = measure((0.9, 0.9), (0.03, 0.09), (0.03, 0.02), (0.03, 0.02), (0.03, 0.02))
    assert (seconds["bf16"], turns) == (0.02, 5)


def test_the_first_pass_which_compiles_decides_nothing(measure) -> None:
    seconds, turns = measure((1.0, 9.0), (1.0, 0.5))
    assert (seconds["bf16"], turns) == (0.5, 2)


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


@pytest.fixture
def resume(tmp_path, monkeypatch):
    """What a run on the processor goes on in, and the codes of its warnings."""

    def resumed(saved: Precision, *, named: str = "auto", has_bf16: bool = True) -> tuple[str, list[str]]:
        monkeypatch.setattr(precisions, "cpu_multiplies_bf16", lambda: has_bf16)
        run = FakeRun(root=tmp_path)
        chosen = precision_of_checkpoint(
            saved, named=named, device=CPU, run=run, choose=lambda: "bf16" if has_bf16 else "fp32"
        )
        return chosen, [each["code"] for each in run.all_of("warning")]

    return resumed


@pytest.mark.parametrize("named", ["auto", "same"])
@pytest.mark.parametrize("saved", ["fp32", "bf16"])
def test_a_checkpoint_goes_on_in_its_own_precision(resume, saved, named) -> None:
    assert resume(saved, named=saved if named == "same" else named) == (saved, [])


@pytest.mark.parametrize(
    ("saved", "has_bf16", "chosen"),
    [("fp16", True, "bf16"), ("fp16", False, "fp32"), ("bf16", False, "fp32")],
)
def test_an_accelerators_precision_is_chosen_again_for_the_processor(resume, saved, has_bf16, chosen) -> None:
    assert resume(saved, has_bf16=has_bf16) == (chosen, ["not_bitwise"])


def test_what_was_asked_for_is_not_replaced_on_another_device(resume) -> None:
    with pytest.raises(RecipeError, match="fp16 needs an accelerator") as refused:
        resume("fp16", named="fp16")
    assert refused.value.reason == "INVALID_FIELD"


def test_what_was_asked_for_and_is_slow_here_is_warned_of(resume) -> None:
    assert resume("bf16", named="bf16", has_bf16=False) == ("bf16", ["slow_precision"])


def test_a_loss_scale_begins_anew_where_the_checkpoint_has_none() -> None:
    scaler = torch.amp.GradScaler("cpu")
    restore_scaler(scaler, torch.amp.GradScaler("cpu", enabled=False).state_dict())
    assert scaler.get_scale() == torch.amp.GradScaler("cpu").get_scale()
    restore_scaler(scaler, torch.amp.GradScaler("cpu", init_scale=8.0).state_dict())
    assert scaler.get_scale() == 8.0


@pytest.mark.parametrize(
    ("trained", "has_bf16", "chosen"),
    [
        ("fp32", True, "fp32"),
        ("bf16", True, "bf16"),
        ("bf16", False, "fp32"),
        ("fp16", True, "bf16"),
        ("fp16", False, "fp32"),
    ],
)
def test_a_finished_model_is_asked_in_its_training_s_precision_or_the_nearest(
    monkeypatch, trained, has_bf16, chosen
) -> None:
    monkeypatch.setattr(precisions, "cpu_multiplies_bf16", lambda: has_bf16)
    assert nearest_precision(trained, CPU) == chosen
