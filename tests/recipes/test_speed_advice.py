"""What a run is told of its device before its first step."""

from pathlib import Path

import pytest
import torch

from tuneyard.recipes.watch import advise_on_speed
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import AdviceKind


def advice(run: FakeRun, device: str, precision: str = "auto") -> list[dict[str, object]]:
    advise_on_speed(precision, run, torch.device(device))
    assert all(told["kind"] is AdviceKind.SLOW_TRAINING for told in run.all_of("advice"))
    return [told["changes"] for told in run.all_of("advice")]


def test_a_run_on_the_processor_beside_an_accelerator_hears_of_it(tmp_path: Path) -> None:
    run = FakeRun(root=tmp_path, accelerators=("cuda:0",))
    assert advice(run, "cpu") == [{"resources.force_cpu": False}]
    assert "cuda:0" in run.all_of("advice")[0]["observation"]


def test_a_run_on_the_processor_that_has_nothing_else_is_told_nothing(tmp_path: Path) -> None:
    assert advice(FakeRun(root=tmp_path), "cpu", "fp32") == []


@pytest.mark.parametrize(
    ("able", "precision", "told"),
    [
        (True, "fp32", [{"hyperparameters.precision": "PRECISION_AUTO"}]),
        (True, "bf16", []),
        (False, "fp32", []),
    ],
)
def test_fp32_on_an_accelerator_that_is_faster_in_bf16_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: bool, precision: str, told: list[dict[str, object]]
) -> None:
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: able)
    assert advice(FakeRun(root=tmp_path, accelerators=("cuda:0",)), "cuda:0", precision) == told
