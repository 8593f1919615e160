import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.evaluate_config import EvaluateConfig
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.vision.detector import train
from tuneyard.vision.detector_config import DetectorConfig
from tuneyard.vision.detector_model import build, save_detector
from tuneyard.vision.detector_splits import make_splits
from tuneyard.vision.evaluate_detector import evaluate
from tuneyard.vision.evaluate_detector_inputs import measured_split

CLASSES = ("circle", "square", "triangle")


@pytest.fixture
def source(configure_detector: Any) -> DetectorConfig:
    """The settings of the finished job."""
    return configure_detector(seed=5, validation_fraction=0.3)


@pytest.fixture
def evaluation(tmp_path: Path, shapes: Any) -> FakeRun:
    """A run that evaluates a detector with weights of chance, as a job would have stored it."""
    folder = tmp_path / "artifacts"
    folder.mkdir()
    save_chance(folder)
    return FakeRun(root=tmp_path / "evaluation", training_files=shapes(), source_files=folder)


def save_chance(folder: Path, *, classes: tuple[str, ...] = CLASSES, seed: int = 3) -> None:
    torch.manual_seed(seed)
    model = build("yolov8n", classes)
    save_detector(folder, model, architecture="yolov8n", classes=classes, image_size=64)


def config(split: str = "val", **changes: Any) -> EvaluateConfig:
    settings: dict[str, Any] = {
        "source_job": "jobs/1",
        "dataset": "datasets/d",
        "split": split,
        "is_own_dataset": True,
    }
    return EvaluateConfig(**(settings | changes))


def content(run: FakeRun, name: str) -> Any:
    return json.loads(run.artifacts[name].path.read_text())


def test_validation_gives_the_numbers_of_the_training(
    tmp_path: Path, shapes: Any, source: DetectorConfig, start: Any
) -> None:
    training = start(shapes())
    train(source, training)
    evaluation = FakeRun(
        root=tmp_path / "evaluation",
        training_files=training.training_files,
        source_files=training.root / "artifacts",
    )
    result = evaluate(config(), source, evaluation)
    told = content(training, "metrics.json")
    report = content(evaluation, "report.json")
    for name in ("map50", "map50_95", "precision", "recall", "loss", "box_loss", "cls_loss", "dfl_loss"):
        assert result.metrics[f"eval/{name}"] == pytest.approx(told["metrics"][f"eval/{name}"], rel=1e-4)
    assert result.metrics["eval/loss"] > 0
    assert report["confusion_matrix"]["counts"] == told["confusion_matrix"]["counts"]
    assert report["classes"].keys() == told["classes"].keys()


def test_the_split_that_training_drew_is_drawn_again(shapes: Any, source: DetectorConfig, start: Any) -> None:
    files = shapes(train=20, val=0)
    drawn = make_splits(files, None, source)
    found = measured_split(config(), source, classes=CLASSES, run=start(files))
    assert found.split == drawn.validation
    assert not {sample.path for sample in found.split.samples} & {s.path for s in drawn.train.samples}
    assert "30%" in found.origin and "seed 5" in found.origin


def test_another_datasets_classes_are_matched_by_name(
    shapes: Any, source: DetectorConfig, start: Any
) -> None:
    other, files = config("train", is_own_dataset=False), shapes()
    names = ("square", "extra", "triangle", "circle")
    found = measured_split(other, source, classes=names, run=start(files))
    same = measured_split(other, source, classes=CLASSES, run=start(files, root=files.dir.parent / "again"))
    moved = {0: 3, 1: 0, 2: 2}
    for renamed, sample in zip(found.split.samples, same.split.samples, strict=True):
        assert [box.label for box in renamed.boxes] == [moved[box.label] for box in sample.boxes]
    with pytest.raises(RecipeError, match="does not know: triangle") as caught:
        measured_split(
            other, source, classes=("square", "circle"), run=start(files, root=files.dir.parent / "x")
        )
    assert caught.value.reason == "DATASET_INVALID"


@pytest.mark.usefixtures("charts")
def test_the_report_names_the_split_and_loads_nothing(source: DetectorConfig, evaluation: FakeRun) -> None:
    result = evaluate(config(), source, evaluation)
    assert "4 images of the val split of datasets/d" in result.summary
    report = content(evaluation, "report.json")
    assert report["split"]["origin"] == "the dataset's own val split, on which the training validated"
    assert report["metrics"]["loss"] == result.metrics["eval/loss"]
    page = evaluation.artifacts["report.html"].path.read_text()
    assert page.count("data:image/png;base64,") == page.count("<img ") >= 2
    assert not re.search(r"<script|<link|https?://|url\(", page)


def test_progress_ends_with_the_last_batch(source: DetectorConfig, evaluation: FakeRun) -> None:
    evaluate(config(), source, evaluation)
    *_, last = evaluation.all_of("progress")
    assert (last["step"], last["count"]) == (last["total_steps"], 4)


def test_images_with_mistakes_are_shown(source: DetectorConfig, evaluation: FakeRun) -> None:
    evaluate(config("train"), source, evaluation)
    assert {"most_wrong.png", "confusion_matrix.png", "report.html"} <= evaluation.artifacts.keys()


def test_a_base_that_knows_the_classes_is_measured_beside(
    tmp_path: Path, source: DetectorConfig, evaluation: FakeRun
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    save_chance(base, classes=("triangle", "square", "circle", "star"), seed=9)
    evaluation.base_model_files = base
    result = evaluate(config(), replace(source, pretrained=True, base_model="models/base"), evaluation)
    told = content(evaluation, "report.json")["base"]
    assert told["compared"] and told["name"] == "models/base"
    assert told["metrics"]["loss"] == result.metrics["base/loss"] != result.metrics["eval/loss"]


def why_not(evaluation: FakeRun, source: DetectorConfig, **changes: Any) -> str:
    result = evaluate(config(**changes), source, evaluation)
    assert "base/map50" not in result.metrics
    return str(content(evaluation, "report.json")["base"]["reason"])


def test_a_base_of_other_classes_says_nothing(source: DetectorConfig, evaluation: FakeRun) -> None:
    reason = why_not(evaluation, replace(source, pretrained=True))
    assert "does not know 3 of the classes (circle, square, triangle)" in reason


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "random weights"),
        ({"pretrained": True, "base_model": "models/gone"}, "models/gone is no longer in the store"),
    ],
)
def test_without_a_base_the_report_says_why(
    source: DetectorConfig, evaluation: FakeRun, settings: Any, reason: str
) -> None:
    assert reason in why_not(evaluation, replace(source, **settings))


@pytest.mark.parametrize("stop", list(Stop))
def test_a_stop_ends_it_and_leaves_nothing(source: DetectorConfig, evaluation: FakeRun, stop: Stop) -> None:
    evaluation.request_stop(stop)
    with pytest.raises(Stopped) as caught:
        evaluate(config(), source, evaluation)
    assert caught.value.mode is stop and not evaluation.artifacts


def test_a_dataset_whose_content_changed_is_refused(source: DetectorConfig, evaluation: FakeRun) -> None:
    manifest = evaluation.source_artifacts() / "manifest.json"
    manifest.write_text(json.dumps({"dataset": {"sha256": "0" * 64}}))
    with pytest.raises(RecipeError, match="other data"):
        evaluate(config(), source, evaluation)


def test_a_source_without_a_detector_is_told(source: DetectorConfig, evaluation: FakeRun) -> None:
    (evaluation.source_artifacts() / "config.json").unlink()
    with pytest.raises(RecipeError) as caught:
        evaluate(config(), source, evaluation)
    assert caught.value.reason == "MODEL_NOT_FOUND"
