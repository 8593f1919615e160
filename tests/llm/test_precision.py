"""Which arithmetic a fine-tuning uses."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tuneyard.llm.config import LanguageModelConfig, Quantization
from tuneyard.llm.precision import autocast, base_dtype, choose_precision
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.fake_run import FakeRun

Configure = Callable[..., LanguageModelConfig]
CPU = torch.device("cpu")


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    return FakeRun(root=tmp_path)


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, "bf16"), (False, "fp32")])
def test_the_processor_decides_what_auto_means(
    configure: Configure, run: FakeRun, monkeypatch: pytest.MonkeyPatch, has_bf16: bool, expected: str
) -> None:
    monkeypatch.setattr("tuneyard.recipes.precision.cpu_multiplies_bf16", lambda: has_bf16)
    assert choose_precision(configure(precision="auto"), CPU, run) == expected
    assert not run.all_of("warning")


def test_emulated_bf16_is_warned_of(
    configure: Configure, run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuneyard.recipes.precision.cpu_multiplies_bf16", lambda: False)
    assert choose_precision(configure(precision="bf16"), CPU, run) == "bf16"
    assert [each["code"] for each in run.all_of("warning")] == ["slow_precision"]


def test_float16_on_the_processor_is_honoured_with_a_warning(configure: Configure, run: FakeRun) -> None:
    config = configure("qlora", quantization=Quantization(compute_dtype="float16"))
    choose_precision(config, CPU, run)
    assert [each["code"] for each in run.all_of("warning")] == ["slow_precision"]


def test_fp16_needs_an_accelerator(configure: Configure, run: FakeRun) -> None:
    with pytest.raises(RecipeError, match="accelerator") as raised:
        choose_precision(configure(precision="fp16"), CPU, run)
    assert raised.value.reason == "INVALID_FIELD"


def test_only_what_is_trained_whole_is_computed_under_autocast() -> None:
    for method, expected in (("full", True), ("lora", False), ("qlora", False)):
        with autocast("bf16", CPU, method):
            assert torch.is_autocast_enabled("cpu") is expected
    assert base_dtype("bf16", "full") == torch.float32
