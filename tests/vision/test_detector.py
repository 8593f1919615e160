import hashlib
import json
from itertools import chain
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.oom import OptimizerOutOfMemory
from tuneyard.vision import detector_precision, detector_training
from tuneyard.vision.detector import train
from tuneyard.vision.detector_config import DetectorConfig
from tuneyard.vision.detector_predictor import Detector

STEPS = 6  # 12 images, batches of 4, two epochs


def weights_of(run: FakeRun) -> dict[str, torch.Tensor]:
    return load_file(run.artifacts["model.safetensors"].path)


def assert_same_end(config: DetectorConfig, whole: FakeRun, *parts: FakeRun) -> None:
    """The parts' losses, in order, and the last part's weights are bitwise those of the whole run."""
    losses = dict(point for part in parts for point in part.series("train/loss"))
    assert losses == dict(whole.series("train/loss"))
    assert dict(parts[-1].series("eval/loss")).items() <= dict(whole.series("eval/loss")).items()
    expected, found = weights_of(whole), weights_of(parts[-1])
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.usefixtures("charts")
def test_a_training_ends_with_a_model_and_its_reports(shapes, configure_detector, start) -> None:
    run = start(shapes())
    result = train(configure_detector(), run)
    assert result.step == STEPS and result.best_step in (3, STEPS)
    assert {"model.safetensors", "config.json", "metrics.json", "manifest.json", "README.md"} <= (
        run.artifacts.keys()
    )
    charts = {"confusion_matrix", "precision_recall_curve", "f1_curve", "labels", "predictions", "loss_curve"}
    assert {f"{name}.png" for name in charts} <= run.artifacts.keys()
    assert [sample["artifact"] for sample in run.all_of("sample")] == [
        "samples/first-batch.png",
        "samples/predictions-00000003.png",
        "samples/predictions-00000006.png",
    ]
    config = json.loads(run.artifacts["config.json"].path.read_text())
    assert (config["architecture"], config["image_size"]) == ("yolov8n", 64)
    assert config["classes"] == ["circle", "square", "triangle"]


def test_every_step_and_evaluation_tells_its_metrics(shapes, configure_detector, start) -> None:
    run = start(shapes())
    train(configure_detector(), run)
    step, evaluation = run.all_of("metrics")[0]["values"], run.all_of("metrics")[3]["values"]
    assert step.keys() == {
        "train/loss",
        "train/box_loss",
        "train/cls_loss",
        "train/dfl_loss",
        "train/learning_rate",
    }
    assert {"eval/map50", "eval/map50_95", "eval/precision", "eval/recall", "eval/loss"} <= evaluation.keys()
    assert {"eval/ap50/circle", "eval/ap50_95/triangle"} <= evaluation.keys()
    assert [p["step"] for p in run.all_of("progress") if p["step"]] == list(range(1, STEPS + 1))


@pytest.mark.parametrize("architecture", ["yolov8n", pytest.param("yolo26n", marks=pytest.mark.integration)])
@pytest.mark.parametrize(
    "step", [2, pytest.param(3, marks=pytest.mark.integration)], ids=["mid-epoch", "epoch-end"]
)
def test_a_paused_training_ends_bitwise_like_one_that_was_not(
    shapes, configure_detector, start, tmp_path, step, architecture
) -> None:
    files, config = shapes(), configure_detector(architecture=architecture)
    whole = start(files, root=tmp_path / "whole")
    train(config, whole)
    first = start(files, root=tmp_path / "parts", stop=Stop.PAUSE, stop_after=step)
    with pytest.raises(Stopped) as stopped:
        train(config, first)
    assert (stopped.value.mode, stopped.value.step) == (Stop.PAUSE, step)
    second = first.resumed()
    train(config, second)
    assert_same_end(config, whole, first, second)


def test_a_training_killed_after_a_checkpoint_within_an_epoch_ends_bitwise_the_same(
    shapes, configure_detector, start, tmp_path
) -> None:
    files, config = shapes(), configure_detector(save_steps=2, optimizer="sgd", precision="bf16")
    whole = start(files, root=tmp_path / "whole")
    train(config, whole)
    killed = start(files, root=tmp_path / "parts", faults="exception@step=4")
    with pytest.raises(RuntimeError):
        train(config, killed)
    assert killed.checkpoints[-1].step == 2
    resumed = killed.resumed()
    train(config, resumed)
    assert_same_end(config, whole, killed, resumed)


def test_a_cancelled_training_saves_nothing(shapes, configure_detector, start) -> None:
    run = start(shapes(), stop=Stop.CANCEL, stop_after=2)
    with pytest.raises(Stopped) as stopped:
        train(configure_detector(), run)
    assert (stopped.value.mode, stopped.value.step) == (Stop.CANCEL, 2)
    assert not run.checkpoints and "model.safetensors" not in run.artifacts


def test_out_of_memory_halves_the_micro_batch_and_repeats_the_step(shapes, configure_detector, start) -> None:
    run = start(shapes(), faults="oom@step=2")
    result = train(configure_detector(), run)
    recovered = run.all_of("out_of_memory_recovered")
    assert [(r["step"], r["old_batch_size"], r["new_batch_size"]) for r in recovered] == [(2, 4, 2)]
    assert result.step == STEPS
    assert [step for step, _ in run.series("train/loss")] == list(range(1, STEPS + 1))


def test_the_step_that_did_not_fit_is_repeated_over_the_same_augmented_samples(
    shapes, configure_detector, start, tmp_path, monkeypatch
) -> None:
    seen: list[list[bytes]] = []
    forward = detector_training.DetectorTraining._forward_backward

    def noted(self: Any, piece: Any) -> torch.Tensor:
        seen.append([hashlib.sha256(sample["img"].numpy()).digest() for sample in piece])
        return forward(self, piece)

    monkeypatch.setattr(detector_training.DetectorTraining, "_forward_backward", noted)
    files, config = shapes(), configure_detector(epochs=1)
    train(config, start(files, root=tmp_path / "whole"))
    whole, seen[:] = list(seen), []
    train(config, start(files, root=tmp_path / "short", faults="oom@step=2"))
    assert [len(piece) for piece in whole] == [4, 4, 4]
    assert [len(piece) for piece in seen] == [4, 2, 2, 2, 2]
    assert list(chain(*seen)) == list(chain(*whole))


def test_out_of_memory_in_the_optimizer_leaves_the_step_to_the_platform(
    shapes, configure_detector, start, monkeypatch
) -> None:
    def full(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(detector_training.DetectorTraining, "_update", full)
    with pytest.raises(OptimizerOutOfMemory):
        train(configure_detector(), start(shapes()))


def test_early_stopping_ends_the_training(shapes, configure_detector, start) -> None:
    run = start(shapes())
    result = train(configure_detector(epochs=20, patience=1, min_delta=2.0), run)
    assert result.early_stopped
    assert (result.step, result.best_step) == (6, 3)


def test_max_steps_and_eval_steps_are_kept(shapes, configure_detector, start) -> None:
    run = start(shapes())
    assert train(configure_detector(epochs=None, max_steps=5, eval_steps=2), run).step == 5
    assert [step for step, _ in run.series("eval/map50")] == [2, 4, 5]


@pytest.mark.parametrize(
    "changes",
    [
        {"rectangular": True, "balance_classes": True, "class_weights": {"circle": 3.0}},
        {"gradient_accumulation_steps": 2, "max_train_samples": 5, "architecture": "yolov10n"},
    ],
    ids=str,
)
def test_settings_train(shapes, configure_detector, start, changes: dict[str, Any]) -> None:
    run = start(shapes())
    train(configure_detector(epochs=1, **changes), run)
    assert all(torch.isfinite(value).all() for value in weights_of(run).values())


@pytest.mark.integration
def test_frozen_layers_keep_their_weights(shapes, configure_detector, start, tmp_path) -> None:
    files = shapes()
    short, long = start(files, root=tmp_path / "a"), start(files, root=tmp_path / "b")
    train(configure_detector(epochs=1, freeze_layers=3), short)
    train(configure_detector(epochs=2, freeze_layers=3), long)
    same = [name for name, value in weights_of(short).items() if torch.equal(value, weights_of(long)[name])]
    assert {name.split(".")[1] for name in same if name.endswith("weight")} >= {"0", "1", "2"}
    assert "model.3.conv.weight" not in same


def test_freezing_everything_is_refused(shapes, configure_detector, start) -> None:
    with pytest.raises(RecipeError, match="freeze_layers") as failed:
        train(configure_detector(freeze_layers=23), start(shapes()))
    assert failed.value.reason == "INVALID_FIELD"


def test_a_split_is_made_where_the_set_brings_none(shapes, configure_detector, start) -> None:
    run = start(shapes(val=0))
    train(configure_detector(epochs=1, validation_fraction=0.25), run)
    manifest = json.loads(run.artifacts["manifest.json"].path.read_text())
    assert (manifest["train_samples"], manifest["validation_samples"]) == (9, 3)
    assert len(manifest["held_out"]) == 64


def test_images_without_objects_are_kept(shapes, configure_detector, start) -> None:
    def backgrounds(root: Any) -> None:
        for number in range(3):
            Image.new("RGB", (64, 64), "gray").save(root / "images" / "train" / f"empty-{number}.png")

    run = start(shapes(extra=backgrounds))
    train(configure_detector(epochs=1), run)
    assert json.loads(run.artifacts["manifest.json"].path.read_text())["train_samples"] == 15


def test_a_set_without_any_object_is_refused(shapes, configure_detector, start) -> None:
    def no_labels(root: Any) -> None:
        for label in (root / "labels").rglob("*.txt"):
            label.write_text("")

    with pytest.raises(RecipeError, match="No training image has a labelled object"):
        train(configure_detector(), start(shapes(extra=no_labels)))


def test_a_damaged_checkpoint_is_told_as_such(shapes, configure_detector, start) -> None:
    run = start(shapes(), stop=Stop.PAUSE, stop_after=2)
    with pytest.raises(Stopped):
        train(configure_detector(), run)
    (run.checkpoints[-1].dir / "training.json").write_text("{}")
    with pytest.raises(RecipeError) as failed:
        train(configure_detector(), run.resumed())
    assert failed.value.reason == "CHECKPOINT_CORRUPT"


def test_the_stored_detector_answers(shapes, configure_detector, start) -> None:
    run = start(shapes())
    train(configure_detector(epochs=1), run)
    detector = Detector.load(run.root / "artifacts")
    boxes = detector.detect([Image.new("RGB", (100, 50)), Image.new("L", (30, 90))], min_score=0.0001)
    assert len(boxes) == 2 and boxes[0]
    assert all(0 <= box.x_min <= box.x_max <= 100 and box.y_max <= 50 for box in boxes[0])


def test_a_training_that_diverges_goes_back_once_and_then_fails(shapes, configure_detector, start) -> None:
    run = start(shapes())
    hopeless = configure_detector(optimizer="sgd", learning_rate=1e6, max_grad_norm=0.0, warmup_ratio=0.0)
    with pytest.raises(RecipeError) as failed:
        train(hopeless, run)
    assert failed.value.reason == "DIVERGED"
    (back,) = run.all_of("rolled_back")
    assert (back["to_step"], back["learning_rate_factor"]) == (0, 0.5)


def test_a_loss_that_is_no_number_once_is_survived(shapes, configure_detector, start, monkeypatch) -> None:
    bad = iter([False] * 4 + [True])
    forward = detector_training.DetectorTraining._forward_backward

    def now_and_then(self: Any, piece: Any) -> torch.Tensor:
        parts = forward(self, piece)
        return parts * float("nan") if next(bad, False) else parts

    monkeypatch.setattr(detector_training.DetectorTraining, "_forward_backward", now_and_then)
    run = start(shapes())
    assert train(configure_detector(), run).step == STEPS
    (back,) = run.all_of("rolled_back")
    assert (back["from_step"], back["to_step"]) == (5, 3)
    rates = dict(run.series("train/learning_rate"))
    assert rates[4] < rates[3]
    assert [advice["kind"].value for advice in run.all_of("advice")] == ["diverging"]


def test_unequal_classes_are_told(shapes, configure_detector, start) -> None:
    def mostly_circles(root: Any) -> None:
        for label in sorted((root / "labels" / "train").glob("*.txt"))[:-1]:
            label.write_text("0 0.5 0.5 0.2 0.2\n")

    run = start(shapes(train=12, extra=mostly_circles))
    train(configure_detector(epochs=1), run)
    (advice,) = run.all_of("advice")
    assert advice["changes"] == {"object_detector.balance_classes": True}


def test_a_checkpoint_of_an_accelerators_fp16_goes_on_as_the_processor_can(
    shapes, configure_detector, start, monkeypatch
) -> None:
    config = configure_detector(precision="auto")
    with monkeypatch.context() as accelerated:
        accelerated.setattr(detector_precision, "choose", lambda *_, **__: "fp16")
        first = start(shapes(), stop=Stop.PAUSE, stop_after=2)
        with pytest.raises(Stopped):
            train(config, first)
    resumed = first.resumed()
    train(config, resumed)
    assert [each["code"] for each in resumed.all_of("warning")] == ["not_bitwise"]
