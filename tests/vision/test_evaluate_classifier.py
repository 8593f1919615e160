import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.evaluate_config import EvaluateConfig
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.json_files import write_json
from tuneyard.vision import evaluate_classifier, networks
from tuneyard.vision.classifier import train
from tuneyard.vision.config import ClassifierConfig
from tuneyard.vision.evaluate_classifier import evaluate
from tuneyard.vision.weights import preprocessing


@pytest.fixture
def source(configure: Any) -> ClassifierConfig:
    """The settings of the finished job."""
    return configure(architecture="resnet18", epochs=3, validation_fraction=0.3)


@pytest.fixture
def evaluation(tmp_path: Path, draw: Any, source: ClassifierConfig) -> FakeRun:
    """A run that evaluates a classifier with weights of chance, as a job would have stored it."""
    return FakeRun(
        root=tmp_path / "evaluation",
        training_files=draw(splits=(), side=40),
        source_files=write_classifier(tmp_path / "artifacts", source),
    )


def write_classifier(folder: Path, source: ClassifierConfig) -> Path:
    folder.mkdir()
    torch.manual_seed(3)
    model = networks.build("resnet18", classes=3, image_size=32, dropout=0.2)
    save_file(model.state_dict(), folder / "model.safetensors")
    facts = {
        "architecture": "resnet18",
        "classes": ["class_0", "class_1", "class_2"],
        "image_size": 32,
        "dropout": 0.2,
        "transform_input": False,
        "preprocessing": preprocessing(source, stored_side=32),
    }
    write_json(folder / "config.json", facts)
    return folder


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
    tmp_path: Path, draw: Any, source: ClassifierConfig, start: Any
) -> None:
    training = start(draw(splits=(), side=40))
    train(source, training)
    evaluation = FakeRun(
        root=tmp_path / "evaluation",
        training_files=training.training_files,
        source_files=training.root / "artifacts",
    )
    result = evaluate(config(), source, evaluation)
    told = content(training, "metrics.json")
    report = content(evaluation, "report.json")
    assert result.metrics["eval/accuracy_top1"] == told["metrics"]["eval/accuracy_top1"]
    assert result.metrics["eval/loss"] == pytest.approx(told["metrics"]["eval/loss"], rel=1e-5)
    assert report["confusion_matrix"] == told["confusion_matrix"]
    assert report["classes"] == told["classes"]
    assert report["metrics"]["macro_f1"] == pytest.approx(told["macro_f1"])


def test_the_split_is_named_everywhere(source: ClassifierConfig, evaluation: FakeRun) -> None:
    result = evaluate(config(), source, evaluation)
    assert "of the val split of datasets/d" in result.summary
    report, manifest = content(evaluation, "report.json"), content(evaluation, "manifest.json")
    assert (
        report["split"]
        == manifest["split"]
        == {
            "name": "val",
            "origin": "the 30% of the images that the training held out (seed 0)",
            "samples": 9,
        }
    )
    assert "held out (seed 0)" in evaluation.artifacts["report.html"].path.read_text()


@pytest.mark.usefixtures("charts")
def test_the_report_for_people_loads_nothing(source: ClassifierConfig, evaluation: FakeRun) -> None:
    evaluate(config(), source, evaluation)
    page = evaluation.artifacts["report.html"].path.read_text()
    assert len(re.findall(r'<img [^>]*src="data:image/png;base64,', page)) == page.count("<img ")
    assert page.count("<img ") >= 2
    assert not re.search(r"<script|<link|https?://|url\(", page)
    assert "prefers-color-scheme: dark" in page


def test_mistakes_are_listed_and_shown(source: ClassifierConfig, evaluation: FakeRun) -> None:
    folder = evaluation.source_artifacts()
    state = load_file(folder / "model.safetensors")
    last = "fc.bias"
    save_file(state | {last: state[last].new_tensor([99.0, 0, 0])}, folder / "model.safetensors")
    result = evaluate(config(), source, evaluation)
    assert result.metrics["eval/accuracy_top1"] == pytest.approx(1 / 3)
    mistakes = content(evaluation, "report.json")["most_wrong"]
    assert {mistake["predicted"] for mistake in mistakes} == {"class_0"} and len(mistakes) == 6
    assert "most_wrong.png" in evaluation.artifacts


def test_without_a_base_the_report_says_why(source: ClassifierConfig, evaluation: FakeRun) -> None:
    result = evaluate(config(), source, evaluation)
    assert not any(name.startswith("base/") for name in result.metrics)
    assert content(evaluation, "report.json")["base"] == {
        "compared": False,
        "reason": "The training began with random weights: there is no base model to compare with.",
    }


def test_a_stored_base_with_the_same_classes_is_measured_beside(
    source: ClassifierConfig, evaluation: FakeRun
) -> None:
    base = evaluation.root / "base"
    base.mkdir()
    state = load_file(evaluation.source_artifacts() / "model.safetensors")
    save_file({name: value * 0.5 for name, value in state.items()}, base / "model.safetensors")
    evaluation.base_model_files = base
    tuned = replace(source, pretrained=True, base_model="models/base")
    result = evaluate(config(), tuned, evaluation)
    report = content(evaluation, "report.json")
    assert report["base"]["compared"] and report["base"]["name"] == "models/base"
    assert report["base"]["metrics"]["loss"] == result.metrics["base/loss"] != result.metrics["eval/loss"]
    assert "base model:" in result.summary
    assert "F1 of the base" in evaluation.artifacts["report.html"].path.read_text()


def why_not(evaluation: FakeRun, source: ClassifierConfig, **changes: Any) -> str:
    result = evaluate(config(**changes), source, evaluation)
    assert "base/loss" not in result.metrics
    return str(content(evaluation, "report.json")["base"]["reason"])


def test_a_base_with_another_head_says_nothing(source: ClassifierConfig, evaluation: FakeRun) -> None:
    base = evaluation.root / "base"
    base.mkdir()
    state = load_file(evaluation.source_artifacts() / "model.safetensors")
    state["fc.weight"] = state["fc.weight"][:2].clone()
    state["fc.bias"] = state["fc.bias"][:2].clone()
    save_file(state, base / "model.safetensors")
    evaluation.base_model_files = base
    reason = why_not(evaluation, replace(source, pretrained=True, base_model="models/base"))
    assert "another number of classes" in reason


def test_a_base_of_other_classes_says_nothing(source: ClassifierConfig, evaluation: FakeRun) -> None:
    pretrained = replace(source, pretrained=True)
    assert "recognises 1000 other classes" in why_not(evaluation, pretrained)


def test_a_base_that_is_gone_is_told(source: ClassifierConfig, evaluation: FakeRun) -> None:
    gone = replace(source, pretrained=True, base_model="models/gone")
    assert "models/gone is no longer in the store" in why_not(evaluation, gone)


def test_a_comparison_that_is_not_wanted_is_not_made(source: ClassifierConfig, evaluation: FakeRun) -> None:
    assert "not asked for" in why_not(evaluation, source, compare_with_base=False)


@pytest.mark.parametrize("stop", list(Stop))
def test_a_stop_ends_it_and_leaves_nothing(source: ClassifierConfig, evaluation: FakeRun, stop: Stop) -> None:
    evaluation.request_stop(stop)
    with pytest.raises(Stopped) as caught:
        evaluate(config(), source, evaluation)
    assert caught.value.mode is stop
    assert not evaluation.artifacts


def test_progress_is_told_in_images(source: ClassifierConfig, evaluation: FakeRun) -> None:
    evaluate(config("train"), source, evaluation)
    steps = evaluation.all_of("progress")
    assert sum(p["count"] for p in steps if p["total_steps"]) == 21
    assert steps[-1]["step"] == steps[-1]["total_steps"] == 1


def test_memory_that_runs_out_halves_the_batch_and_changes_nothing(
    source: ClassifierConfig, evaluation: FakeRun
) -> None:
    calm = evaluate(config("train"), source, evaluation)
    failing = evaluation.resumed()
    passes, answers = evaluate_classifier.Passes, evaluate_classifier.Passes._answers
    sizes: list[int] = []

    class Tight(passes):  # type: ignore[misc, valid-type]
        def _answers(self, model: Any, start: int, end: int) -> Any:
            if end - start > 8:
                raise MemoryError
            sizes.append(end - start)
            return answers(self, model, start, end)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate_classifier, "Passes", Tight)
        tight = evaluate(config("train"), source, failing)
    assert sizes == [5, 5, 5, 5, 1]
    assert tight.metrics == pytest.approx(calm.metrics, rel=1e-5)


def test_a_source_without_a_model_is_told(source: ClassifierConfig, evaluation: FakeRun) -> None:
    (evaluation.source_artifacts() / "config.json").unlink()
    with pytest.raises(RecipeError) as caught:
        evaluate(config(), source, evaluation)
    assert caught.value.reason == "MODEL_NOT_FOUND"
