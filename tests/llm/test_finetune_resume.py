"""A fine-tuning that was paused or killed ends to the bit like one that was not, whatever the method."""

import pytest
import torch
from safetensors.torch import load_file

from tuneyard.llm import finetune
from tuneyard.llm.config import LanguageModelConfig, Lora, Quantization
from tuneyard.llm.finetune import train
from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.fake_run import FakeRun

METHODS = ["lora", "qlora", "full"]


def weights_of(run: FakeRun) -> dict[str, torch.Tensor]:
    path = next(
        artifact.path for name, artifact in run.artifacts.items() if name.endswith("model.safetensors")
    )
    return load_file(path)


def assert_same_end(whole: FakeRun, *parts: FakeRun) -> None:
    """The parts' losses, in order, and the last part's weights are bitwise those of the whole run."""
    losses = dict(point for part in parts for point in part.series("train/loss"))
    assert losses == dict(whole.series("train/loss"))
    assert dict(parts[-1].series("eval/loss")).items() <= dict(whole.series("eval/loss")).items()
    expected, found = weights_of(whole), weights_of(parts[-1])
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def paused_after(step: int, run: FakeRun, config: LanguageModelConfig) -> FakeRun:
    """Runs until the pause, and returns the next attempt."""
    run.stop, run.stop_after = Stop.PAUSE, step
    with pytest.raises(Stopped) as stopped:
        train(config, run)
    assert (stopped.value.mode, stopped.value.step) == (Stop.PAUSE, step)
    return run.resumed()


@pytest.mark.parametrize("method", METHODS)
def test_a_paused_fine_tuning_ends_bitwise_like_one_that_was_not(
    upload, configure, start, tmp_path, method
) -> None:
    files, config = upload(), configure(method, neftune_alpha=5.0)
    whole = start(files, root=tmp_path / "whole")
    train(config, whole)
    # After the first step, at the end of an epoch, and within one.
    for step in (1, 4, 6):
        first = start(files, root=tmp_path / f"paused-after-{step}")
        second = paused_after(step, first, config)
        train(config, second)
        assert_same_end(whole, first, second)


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("full", {"precision": "bf16"}),
        ("lora", {"precision": "bf16"}),
        ("full", {"optimizer": "adamw_8bit"}),
        ("full", {"optimizer": "sgd"}),
        ("lora", {"gradient_checkpointing": True}),
        ("lora", {"lora": Lora(use_dora=True, use_rslora=True)}),
        ("qlora", {"quantization": Quantization(bits=8)}),
        ("qlora", {"quantization": Quantization(quant_type="fp4", nested=True), "precision": "bf16"}),
    ],
    ids=["bf16", "bf16-lora", "adamw-8bit", "sgd", "checkpointing", "dora", "8-bit-base", "nested-fp4"],
)
def test_so_it_does_with_other_settings(upload, configure, start, tmp_path, method, changes) -> None:
    files, config = upload(), configure(method, **changes)
    whole, first = start(files, root=tmp_path / "whole"), start(files, root=tmp_path / "parts")
    train(config, whole)
    second = paused_after(3, first, config)
    train(config, second)
    assert_same_end(whole, first, second)


@pytest.mark.parametrize("method", METHODS)
def test_one_killed_after_a_checkpoint_within_an_epoch_ends_bitwise_the_same(
    upload, configure, start, tmp_path, method
) -> None:
    files, config = upload(), configure(method, save_steps=3)
    whole = start(files, root=tmp_path / "whole")
    train(config, whole)
    killed = start(files, root=tmp_path / "killed", faults="exception@step=6")
    with pytest.raises(RuntimeError):
        train(config, killed)
    assert killed.checkpoints[-1].step == 3
    resumed = killed.resumed()
    train(config, resumed)
    assert_same_end(whole, killed, resumed)


def test_a_pause_while_the_base_is_looked_at_repeats_the_look(upload, configure, start, tmp_path) -> None:
    files, config = upload(), configure()
    whole, first = start(files, root=tmp_path / "whole"), start(files, root=tmp_path / "parts")
    train(config, whole)
    second = paused_after(0, first, config)
    assert first.series("eval/loss") == []
    train(config, second)
    assert second.series("eval/loss") == whole.series("eval/loss")
    assert_same_end(whole, first, second)


def test_the_bases_answers_outlast_a_pause(upload, configure, start) -> None:
    config = configure("full", learning_rate=0.01)
    first = start(upload())
    second = paused_after(5, first, config)
    train(config, second)
    before, after = first.all_of("sample")[-1], second.all_of("sample")[-1]
    assert before["base"] == after["base"] and after["base"]


def test_the_best_weights_outlast_a_pause(upload, configure, start, tmp_path) -> None:
    """The best are those of step 4, and the pause comes later: only the checkpoint has them."""
    files, config = upload(), configure(epochs=3, min_delta=100.0)
    whole, first = start(files, root=tmp_path / "whole"), start(files, root=tmp_path / "parts")
    assert train(config, whole).best_step == 4
    second = paused_after(6, first, config)
    third = paused_after(10, second, config)
    assert train(config, third).best_step == 4
    assert_same_end(whole, first, second, third)


@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.pt", "training.pt"])
def test_a_damaged_checkpoint_is_told_as_such(upload, configure, start, file) -> None:
    config = configure()
    second = paused_after(2, start(upload()), config)
    path = second.checkpoint().dir / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(RecipeError) as failed:
        train(config, second)
    assert failed.value.reason == "CHECKPOINT_CORRUPT"


def test_a_checkpoint_of_an_accelerators_fp16_goes_on_as_the_processor_can(
    upload, configure, start, monkeypatch
) -> None:
    config = configure("lora", precision="auto")
    with monkeypatch.context() as accelerated:
        accelerated.setattr(finetune, "choose_precision", lambda *_: "fp16")
        resumed = paused_after(3, start(upload()), config)
    train(config, resumed)
    assert [each["code"] for each in resumed.all_of("warning")] == ["not_bitwise"]
