"""A training that was paused or killed ends to the bit like one that was not, whatever its settings."""

import pytest
import torch
from safetensors.torch import load_file

from tuneyard.diffusion import text_to_image_lora
from tuneyard.diffusion.config import Lora, TextToImageConfig
from tuneyard.diffusion.learner import load_state
from tuneyard.diffusion.text_to_image_lora import train
from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.fake_run import FakeRun

variant = pytest.mark.integration


def weights_of(run: FakeRun) -> dict[str, torch.Tensor]:
    return load_file(run.artifacts["pytorch_lora_weights.safetensors"].path)


def assert_same_end(whole: FakeRun, *parts: FakeRun) -> None:
    """The parts' losses, in order, and the last part's weights are bitwise those of the whole run."""
    losses = dict(point for part in parts for point in part.series("train/loss"))
    assert losses == dict(whole.series("train/loss"))
    assert dict(parts[-1].series("eval/loss")).items() <= dict(whole.series("eval/loss")).items()
    expected, found = weights_of(whole), weights_of(parts[-1])
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def paused_after(step: int, run: FakeRun, config: TextToImageConfig) -> FakeRun:
    """Runs until the pause, and returns the next attempt."""
    run.stop, run.stop_after = Stop.PAUSE, step
    with pytest.raises(Stopped) as stopped:
        train(config, run)
    assert (stopped.value.mode, stopped.value.step) == (Stop.PAUSE, step)
    return run.resumed()


@pytest.mark.parametrize(
    ("family", "step", "changes"),
    [
        pytest.param("sd", 1, {}, marks=variant),
        pytest.param("sd", 4, {"lora": Lora(r=4, dropout=0.3)}, marks=variant),
        ("sd", 6, {"ema_decay": 0.9, "horizontal_flip": 0.5, "caption_dropout": 0.5}),
        pytest.param("sd", 3, {"cache_latents": False, "random_crop": True}, marks=variant),
        # Of smaller adapters an 8-bit optimizer keeps 32 bits.
        pytest.param(
            "sd",
            3,
            {"precision": "bf16", "optimizer": "adamw_8bit", "lora": Lora(r=128, alpha=128.0)},
            marks=variant,
        ),
        pytest.param(
            "sdxl", 3, {"train_text_encoder": True, "text_encoder_learning_rate": 1e-4}, marks=variant
        ),
        pytest.param(
            "sdxl", 3, {"resolution": 128, "gradient_checkpointing": True, "optimizer": "sgd"}, marks=variant
        ),
        pytest.param("sd3", 3, {"lora": Lora(r=4, use_dora=True)}, marks=variant),
    ],
    ids=["first-step", "epoch-end", "average", "fresh", "bf16", "texts", "buckets", "flow"],
)
def test_a_paused_training_ends_bitwise_like_one_that_was_not(
    upload, configure, start, tmp_path, family, step, changes
) -> None:
    files, config = upload(), configure(**changes)
    whole, first = (start(files, root=tmp_path / name, family=family) for name in ("whole", "parts"))
    train(config, whole)
    second = paused_after(step, first, config)
    train(config, second)
    assert_same_end(whole, first, second)


@variant
@pytest.mark.parametrize("family", ["sdxl", "sd3"])
def test_a_paused_training_in_fp16_goes_on_with_its_loss_scale(
    upload, configure, start, tmp_path, monkeypatch, family
) -> None:
    """Only accelerators are trained on in fp16; its autocast and loss scale are the processor's too."""
    monkeypatch.setattr(text_to_image_lora, "choose_precision", lambda *_: "fp16")
    monkeypatch.setattr(text_to_image_lora, "precision_of_checkpoint", lambda saved, **_: saved)
    files, config = upload(), configure(train_text_encoder=True, gradient_checkpointing=True)
    whole, first = (start(files, root=tmp_path / name, family=family) for name in ("whole", "parts"))
    train(config, whole)
    second = paused_after(3, first, config)
    state = load_state(second.checkpoint().dir)
    assert state["scaler"]["scale"] > 1 and state["precision"] == "fp16"
    train(config, second)
    assert_same_end(whole, first, second)


@variant
def test_a_checkpoint_of_an_accelerators_fp16_goes_on_in_what_this_device_does_well(
    upload, configure, start, tmp_path, monkeypatch
) -> None:
    files, config = upload(), configure(precision="auto")
    first = start(files, root=tmp_path / "parts")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(text_to_image_lora, "choose_precision", lambda *_: "fp16")
        second = paused_after(3, first, config)
    train(config, second)
    assert load_state(second.checkpoints[-1].dir)["precision"] != "fp16"
    assert "not_bitwise" in [warning["code"] for warning in second.all_of("warning")]


def test_one_killed_after_a_checkpoint_within_an_epoch_ends_bitwise_the_same(
    upload, configure, start, tmp_path
) -> None:
    files, config = upload(), configure(save_steps=3)
    whole = start(files, root=tmp_path / "whole")
    train(config, whole)
    killed = start(files, root=tmp_path / "killed", faults="exception@step=6")
    with pytest.raises(RuntimeError):
        train(config, killed)
    assert killed.checkpoints[-1].step == 3
    resumed = killed.resumed()
    train(config, resumed)
    assert_same_end(whole, killed, resumed)


@variant
def test_a_pause_while_the_base_is_looked_at_repeats_the_look(upload, configure, start, tmp_path) -> None:
    files, config = upload(), configure()
    whole, first = start(files, root=tmp_path / "whole"), start(files, root=tmp_path / "parts")
    train(config, whole)
    with pytest.raises(Stopped):
        first.stop, first.stop_after = Stop.PAUSE, 0
        train(config, first)
    second = first.resumed()
    train(config, second)
    assert_same_end(whole, first, second)


@variant
@pytest.mark.parametrize("decay", [0.0, 0.9], ids=["last", "average"])
def test_the_best_weights_outlast_a_pause(upload, configure, start, tmp_path, decay) -> None:
    """The best are those of step 4, and the pause comes later: only the checkpoint has them."""
    files, config = upload(), configure(epochs=3, min_delta=100.0, ema_decay=decay)
    whole, first = start(files, root=tmp_path / "whole"), start(files, root=tmp_path / "parts")
    assert train(config, whole).best_step == 4
    second = paused_after(6, first, config)
    third = paused_after(10, second, config)
    assert train(config, third).best_step == 4
    assert_same_end(whole, first, second, third)


@pytest.mark.parametrize("file", ["weights.safetensors", "average.safetensors", "training.pt"])
def test_a_damaged_checkpoint_is_told_as_such(upload, configure, start, file) -> None:
    config = configure(ema_decay=0.9)
    second = paused_after(2, start(upload()), config)
    path = second.checkpoint().dir / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(RecipeError) as failed:
        train(config, second)
    assert failed.value.reason == "CHECKPOINT_CORRUPT"


def test_a_checkpoint_of_another_dataset_is_refused(upload, configure, start) -> None:
    config = configure()
    second = paused_after(2, start(upload()), config)
    second.training_files = upload(
        {f"train/{n}.png": f"number {n}" for n in range(8)} | {"val/0.png": "none"}, name="other"
    )
    with pytest.raises(RecipeError) as failed:
        train(config, second)
    assert failed.value.reason == "CHECKPOINT_CORRUPT"
