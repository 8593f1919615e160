import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import DatasetFiles
from tuneyard.vision import classifier
from tuneyard.vision.classifier import train
from tuneyard.vision.config import Augmentation, ClassifierConfig

EVERYTHING_RANDOM = Augmentation(
    crop_min_scale=0.5, horizontal_flip=0.5, randaugment_magnitude=5, mixup_alpha=0.2, cutmix_alpha=1.0
)


def weights_of(run: FakeRun) -> dict[str, torch.Tensor]:
    return load_file(run.artifacts["model.safetensors"].path)


def assert_same_end(config: ClassifierConfig, whole: FakeRun, *parts: FakeRun) -> None:
    """The parts' losses, in order, and the last part's weights are bitwise those of the whole run."""
    losses = dict(point for part in parts for point in part.series("train/loss"))
    assert losses == dict(whole.series("train/loss"))
    assert dict(parts[-1].series("eval/loss")).items() <= dict(whole.series("eval/loss")).items()
    expected, found = weights_of(whole), weights_of(parts[-1])
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def paused_after(step: int, run: FakeRun, config: ClassifierConfig) -> FakeRun:
    """Runs until the pause, and returns the next attempt."""
    run.stop, run.stop_after = Stop.PAUSE, step
    with pytest.raises(Stopped) as stopped:
        train(config, run)
    assert (stopped.value.mode, stopped.value.step) == (Stop.PAUSE, step)
    return run.resumed()


@pytest.mark.usefixtures("charts")
def test_a_training_ends_with_a_model_and_its_reports(draw, configure, start) -> None:
    run = start(draw())
    result = train(configure(), run)
    assert (result.step, result.best_step in (4, 8)) == (8, True)
    files = {"model.safetensors", "config.json", "README.md", "metrics.json", "manifest.json"}
    assert files <= run.artifacts.keys()
    assert {"confusion_matrix.png", "loss_curve.png", "predictions.png"} <= run.artifacts.keys()
    assert [step for step, _ in run.series("eval/accuracy_top1")] == [4, 8]
    assert {"train/loss", "train/learning_rate"} == run.all_of("metrics")[0]["values"].keys()


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.integration)])
def test_a_paused_training_ends_bitwise_like_one_that_was_not(
    draw, configure, start, tmp_path, precision
) -> None:
    files = draw()
    config = configure(
        architecture="mobilenet_v3_small", precision=precision, augmentation=EVERYTHING_RANDOM, ema_decay=0.9
    )
    whole = start(files, root=tmp_path / "whole")
    train(config, whole)
    # After the first step, at the end of an epoch, and within one.
    for step in (1, 4, 6):
        first = start(files, root=tmp_path / f"paused-after-{step}")
        second = paused_after(step, first, config)
        train(config, second)
        assert_same_end(config, whole, first, second)


def test_a_training_killed_after_a_checkpoint_within_an_epoch_ends_bitwise_the_same(
    draw, configure, start, tmp_path
) -> None:
    files, config = draw(), configure(save_steps=3, augmentation=EVERYTHING_RANDOM, optimizer="sgd")
    whole = start(files, root=tmp_path / "whole")
    train(config, whole)
    killed = start(files, root=tmp_path / "parts", faults="exception@step=6")
    with pytest.raises(RuntimeError):
        train(config, killed)
    assert killed.checkpoints[-1].step == 3
    resumed = killed.resumed()
    train(config, resumed)
    assert_same_end(config, whole, killed, resumed)


def test_a_pause_within_an_evaluation_repeats_it_after_the_resume(draw, configure, start, tmp_path) -> None:
    files, config = draw(), configure()
    whole = start(files, root=tmp_path / "whole")
    train(config, whole)
    first = start(files, root=tmp_path / "parts", stop=Stop.PAUSE, stop_after=8)
    with pytest.raises(Stopped):
        train(config, first)
    assert [step for step, _ in first.series("eval/loss")] == [4]
    second = first.resumed()
    train(config, second)
    assert_same_end(config, whole, first, second)


def test_a_cancelled_training_saves_nothing(draw, configure, start) -> None:
    run = start(draw(), stop=Stop.CANCEL, stop_after=2)
    with pytest.raises(Stopped) as stopped:
        train(configure(), run)
    assert stopped.value.mode is Stop.CANCEL
    assert not run.checkpoints and "model.safetensors" not in run.artifacts


def test_out_of_memory_halves_the_micro_batch_and_changes_no_loss(draw, configure, start, tmp_path) -> None:
    files, config = draw(), configure(dropout=0.0, augmentation=EVERYTHING_RANDOM)
    whole, short = start(files, root=tmp_path / "a"), start(files, root=tmp_path / "b", faults="oom@step=3")
    train(config, whole)
    result = train(config, short)
    recovered = short.all_of("out_of_memory_recovered")
    assert [(r["step"], r["old_batch_size"], r["new_batch_size"]) for r in recovered] == [(3, 8, 4)]
    assert result.step == 8
    for (_, expected), (_, found) in zip(whole.series("train/loss"), short.series("train/loss"), strict=True):
        assert found == pytest.approx(expected, rel=1e-3)


def test_accumulated_micro_batches_make_the_same_steps_as_one_batch(draw, configure, start, tmp_path) -> None:
    files = draw(classes=3, per_class=8)
    changes: dict[str, Any] = {"dropout": 0.0, "balance_classes": True, "class_weights": {"class_1": 3.0}}
    whole, cut = start(files, root=tmp_path / "a"), start(files, root=tmp_path / "b")
    train(configure(batch_size=8, **changes), whole)
    train(configure(batch_size=3, gradient_accumulation_steps=2, max_steps=1, **changes), cut)
    train(
        configure(batch_size=2, gradient_accumulation_steps=4, **changes),
        other := start(files, root=tmp_path / "c"),
    )
    assert [s for s, _ in cut.series("train/loss")] == [1]
    for (_, expected), (_, found) in zip(whole.series("train/loss"), other.series("train/loss"), strict=True):
        assert found == pytest.approx(expected, rel=1e-3)


def test_batch_norm_survives_a_step_of_one_sample(draw, configure, start) -> None:
    run = start(draw(classes=3, per_class=3))
    result = train(configure(architecture="resnet18", epochs=1), run)
    assert result.step == 2


def test_early_stopping_ends_after_evaluations_without_improvement(draw, configure, start) -> None:
    run = start(draw())
    result = train(configure(epochs=20, learning_rate=1e-12, patience=2, min_delta=0.2), run)
    assert result.early_stopped
    assert len(run.series("eval/loss")) == 3


def test_the_watched_loss_is_best_where_it_is_least(draw, configure, start) -> None:
    run = start(draw())
    result = train(configure(epochs=4, watched_metric="eval/loss"), run)
    assert result.best_step == min(run.series("eval/loss"), key=lambda point: point[1])[0]


def test_a_loss_that_is_no_number_ends_the_run_as_diverged(draw, configure, start) -> None:
    config = configure(learning_rate=1e30, max_grad_norm=0.0, optimizer="sgd", warmup_steps=0)
    with pytest.raises(RecipeError) as failed:
        train(config, start(draw()))
    assert failed.value.reason == "DIVERGED"
    assert "learning_rate" in failed.value.remedies[0]


def test_a_frozen_backbone_keeps_its_weights_and_statistics(draw, configure, start) -> None:
    files, config = draw(), configure(architecture="resnet18", freeze_backbone=True, max_steps=1)
    run = start(files)
    train(config, run)
    first = load_file(run.artifacts["model.safetensors"].path)
    again = start(files, root=run.root.parent / "again")
    train(configure(architecture="resnet18", freeze_backbone=True, max_steps=3), again)
    changed = {name for name, value in weights_of(again).items() if not torch.equal(value, first[name])}
    assert changed == {"fc.weight", "fc.bias"}


def test_gradient_checkpointing_changes_no_number(draw, configure, start, tmp_path) -> None:
    files = draw()
    plain, frugal = start(files, root=tmp_path / "a"), start(files, root=tmp_path / "b")
    train(configure(architecture="resnet18", max_steps=3), plain)
    train(configure(architecture="resnet18", max_steps=3, gradient_checkpointing=True), frugal)
    assert plain.series("train/loss") == frugal.series("train/loss")
    expected, found = weights_of(plain), weights_of(frugal)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_checkpoint_of_another_dataset_is_refused(draw, configure, start) -> None:
    first = start(draw("a"))
    config = configure()
    second = paused_after(2, first, config)
    second.training_files = draw("b", per_class=12)
    with pytest.raises(RecipeError) as failed:
        train(config, second)
    assert failed.value.reason == "CHECKPOINT_CORRUPT"


def test_imbalanced_classes_are_told_with_the_setting_to_change(draw, configure, start) -> None:
    def thin_out(root) -> None:
        for path in sorted((root / "train" / "class_0").iterdir())[1:]:
            path.unlink()

    run = start(draw(extra=thin_out))
    train(configure(max_steps=1), run)
    (advice,) = run.all_of("advice")
    assert advice["changes"] == {"image_classifier.balance_classes": True}
    assert "'class_0' has 1" in advice["observation"]


def test_metrics_name_every_class(draw, configure, start) -> None:
    run = start(draw())
    train(configure(), run)
    metrics = json.loads(run.artifacts["metrics.json"].path.read_text())
    assert metrics["classes"].keys() == {"class_0", "class_1", "class_2"}
    assert sum(entry["support"] for entry in metrics["classes"].values()) == 30


def test_a_run_reads_its_dataset_only(draw, configure, start) -> None:
    files: DatasetFiles = draw()
    before = sorted(path for path in files.dir.rglob("*"))
    train(configure(max_steps=1), start(files))
    assert sorted(path for path in files.dir.rglob("*")) == before


def test_a_checkpoint_of_an_accelerators_fp16_goes_on_as_the_processor_can(
    draw, configure, start, monkeypatch
) -> None:
    config = configure(precision="auto")
    with monkeypatch.context() as accelerated:
        accelerated.setattr(classifier, "choose", lambda *_, **__: "fp16")
        resumed = paused_after(3, start(draw()), config)
    train(config, resumed)
    assert [each["code"] for each in resumed.all_of("warning")] == ["not_bitwise"]
    assert "fp32 on cpu" in str(resumed.all_of("log"))


def test_one_that_asked_for_fp16_is_refused_on_the_processor(draw, configure, start, monkeypatch) -> None:
    config = configure(precision="fp16")
    resumed = paused_after(3, start(draw()), config)
    with pytest.raises(RecipeError, match="accelerator") as refused:
        train(config, resumed)
    assert refused.value.reason == "INVALID_FIELD"
