"""Evaluations of finished language models, from artifacts to reports."""

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.finished_llm import FinishedJob, finished_job
from tuneyard.datasets import check
from tuneyard.llm.evaluate import evaluate
from tuneyard.llm.splits import make_splits
from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.evaluate_config import EvaluateConfig
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import ArtifactKind, DatasetFiles

NUMBERS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "red",
    "blue",
)


def _row(number: int) -> str:
    first, second = number % 13, number // 13 % 13
    question = f"What is {NUMBERS[first]} and {NUMBERS[second]}?"
    return json.dumps({"instruction": question, "response": f"{NUMBERS[first]} {NUMBERS[second]} {number}"})


def _dataset(folder: Path, **splits: range) -> DatasetFiles:
    folder.mkdir(parents=True)
    for name, numbers in splits.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(_row, numbers)) + "\n", encoding="utf-8")
    digest = hashlib.sha256(str(splits).encode()).hexdigest()
    return DatasetFiles(dir=folder, sha256=digest, report=check(folder, format="jsonl"))


def _run(root: Path, job: FinishedJob, files: DatasetFiles, **changes: Any) -> FakeRun:
    arguments = {
        "root": root,
        "training_files": files,
        "source_files": job.artifacts,
        "base_model_files": job.base,
        **changes,
    }
    (root).mkdir(exist_ok=True)
    return FakeRun(**arguments)


CONFIG = EvaluateConfig(
    source_job="jobs/a", dataset="datasets/words", split="val", is_own_dataset=True, compare_with_base=True
)


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> FinishedJob:
    return finished_job(tmp_path_factory.mktemp("job"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> DatasetFiles:
    return _dataset(tmp_path_factory.mktemp("data") / "files", train=range(100), test=range(200, 212))


@pytest.fixture(scope="module")
def evaluated(lora: FinishedJob, files: DatasetFiles, tmp_path_factory: pytest.TempPathFactory) -> FakeRun:
    run = _run(tmp_path_factory.mktemp("run") / "run", lora, files)
    result = evaluate(CONFIG, lora.config, run)
    assert result.metrics["eval/loss"] > 0
    return run


def _report(run: FakeRun) -> Any:
    return json.loads(run.artifacts["report.json"].path.read_text(encoding="utf-8"))


def test_the_rows_are_those_that_the_training_held_out(
    evaluated: FakeRun, lora: FinishedJob, tmp_path: Path
) -> None:
    assert evaluated.training_files is not None
    held_out = make_splits(lora.config, _run(tmp_path / "again", lora, evaluated.training_files)).validation
    report = _report(evaluated)
    assert report["split"]["samples"] == len(held_out) == 15
    places = {f"{each.path}:{each.line}" for each in held_out}
    assert {answer["place"] for answer in report["answers"]} == places
    assert "15% of the rows" in report["split"]["origin"]


def test_the_loss_is_that_of_plain_transformers(evaluated: FakeRun, lora: FinishedJob) -> None:
    import peft
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base: Any = AutoModelForCausalLM.from_pretrained(lora.base)
    tokenizer: Any = AutoTokenizer.from_pretrained(lora.base)
    report = _report(evaluated)
    model: Any = peft.PeftModel.from_pretrained(base, str(lora.artifacts / "adapter"))
    assert _plain_loss(model, tokenizer, report["answers"]) == pytest.approx(
        report["metrics"]["loss"], rel=1e-5
    )
    with model.disable_adapter():
        plain = _plain_loss(model, tokenizer, report["answers"])
    assert plain == pytest.approx(report["base"]["metrics"]["loss"], rel=1e-5)


@torch.no_grad()
def _plain_loss(model: Any, tokenizer: Any, answers: list[Any]) -> float:
    total, tokens = 0.0, 0
    for answer in answers:
        prompt = tokenizer.apply_chat_template(answer["messages"], tokenize=False, add_generation_prompt=True)
        ids = tokenizer.encode(prompt + answer["reference"] + "<|im_end|>")
        begin = len(tokenizer.encode(prompt))
        logits = model(input_ids=torch.tensor([ids])).logits[0, begin - 1 : -1]
        target = torch.tensor(ids[begin:])
        total += torch.nn.functional.cross_entropy(logits, target, reduction="sum").item()
        tokens += len(target)
    return total / tokens


def test_metrics_are_named_as_in_training_with_the_base_beside(evaluated: FakeRun) -> None:
    [metrics] = evaluated.all_of("metrics")
    names = {"loss", "perplexity", "token_accuracy", "exact_match", "rouge_l"}
    assert set(metrics["values"]) == {f"{who}/{name}" for who in ("eval", "base") for name in names}
    values = metrics["values"]
    assert values["eval/perplexity"] == pytest.approx(math.exp(values["eval/loss"]))
    assert values["eval/loss"] != values["base/loss"]


def test_the_artifacts_are_a_report_for_people_and_one_for_programs(evaluated: FakeRun) -> None:
    kinds = {name: saved.kind for name, saved in evaluated.artifacts.items()}
    assert kinds == {
        "report.json": ArtifactKind.METRICS,
        "report.html": ArtifactKind.REPORT,
        "manifest.json": ArtifactKind.MANIFEST,
    }
    page = evaluated.artifacts["report.html"].path.read_text(encoding="utf-8")
    assert "What is " in page and "Perplexity" in page and "<script" not in page
    assert list(evaluated.artifacts)[-1] == "manifest.json"


def test_progress_counts_up_to_its_total(evaluated: FakeRun) -> None:
    steps = [(each["step"], each["total_steps"]) for each in evaluated.all_of("progress")]
    assert steps == sorted(steps)
    assert steps[-1] == (60, 60)


def test_answers_are_shown_as_samples(evaluated: FakeRun) -> None:
    samples = evaluated.all_of("sample")
    assert len(samples) == 8
    assert all(sample["reference"] and sample["prompt"].startswith("What is") for sample in samples)


def test_a_test_split_and_no_base(lora: FinishedJob, files: DatasetFiles, tmp_path: Path) -> None:
    run = _run(tmp_path / "run", lora, files)
    result = evaluate(replace(CONFIG, split="test", compare_with_base=False), lora.config, run)
    report = _report(run)
    assert report["split"] == {"name": "test", "origin": "the dataset's own test split", "samples": 12}
    assert not report["base"]["compared"]
    assert not any(name.startswith("base/") for name in result.metrics)


def test_another_dataset_is_measured_as_a_whole(
    lora: FinishedJob, files: DatasetFiles, tmp_path: Path
) -> None:
    other = _dataset(tmp_path / "other", train=range(300, 309))
    run = _run(tmp_path / "run", lora, other)
    config = replace(CONFIG, dataset="datasets/more", split="train", is_own_dataset=False)
    evaluate(config, lora.config, run)
    assert _report(run)["split"]["origin"] == "all of the dataset"
    assert _report(run)["split"]["samples"] == 9


def test_test_rows_that_were_trained_on_are_told(lora: FinishedJob, tmp_path: Path) -> None:
    leaking = _dataset(tmp_path / "data", train=range(30), test=range(25, 35))
    run = _run(tmp_path / "run", lora, leaking)
    evaluate(replace(CONFIG, split="test", compare_with_base=False), lora.config, run)
    assert "5 of the 10 rows are in the training split too" in _report(run)["warnings"][0]
    assert "leaking_splits" in [warning["code"] for warning in run.all_of("warning")]


def test_a_dataset_that_changed_is_refused(files: DatasetFiles, tmp_path: Path) -> None:
    job = finished_job(tmp_path / "job", dataset={"sha256": "0" * 64})
    with pytest.raises(RecipeError, match="other data than when the model was trained"):
        evaluate(CONFIG, job.config, _run(tmp_path / "run", job, files))


def test_held_out_rows_that_cannot_be_found_again_are_refused(files: DatasetFiles, tmp_path: Path) -> None:
    job = finished_job(tmp_path / "job", held_out="0" * 64)
    with pytest.raises(RecipeError, match="cannot be told any more"):
        evaluate(CONFIG, job.config, _run(tmp_path / "run", job, files))


def test_a_validation_split_of_its_own_that_changed_is_measured_with_a_warning(tmp_path: Path) -> None:
    job = finished_job(tmp_path / "job", held_out="0" * 64)
    files = _dataset(tmp_path / "data", train=range(20), val=range(20, 28))
    run = _run(tmp_path / "run", job, files)
    evaluate(replace(CONFIG, compare_with_base=False), job.config, run)
    assert _report(run)["split"]["samples"] == 8
    assert "apart from what was trained on" in _report(run)["warnings"][0]
    assert "moved_split" in [warning["code"] for warning in run.all_of("warning")]


def test_a_fully_trained_model_whose_base_is_gone_is_measured_alone(
    files: DatasetFiles, tmp_path: Path
) -> None:
    job = finished_job(tmp_path / "job", "full")
    run = _run(tmp_path / "run", job, files, base_model_files=None)
    evaluate(CONFIG, job.config, run)
    assert "no longer in the store" in _report(run)["base"]["reason"]


def test_plain_texts_are_measured_without_answers(lora: FinishedJob, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    rows = [json.dumps({"text": f"Line {number} of {NUMBERS[number % 13]} lines."}) for number in range(8)]
    (folder / "train.jsonl").write_text("\n".join(rows), encoding="utf-8")
    texts = DatasetFiles(dir=folder, sha256="e" * 64, report=check(folder, format="jsonl"))
    run = _run(tmp_path / "run", lora, texts)
    config = replace(CONFIG, dataset="datasets/texts", split="train", is_own_dataset=False)
    assert set(evaluate(config, lora.config, run).metrics) == {
        f"{who}/{name}" for who in ("eval", "base") for name in ("loss", "perplexity", "token_accuracy")
    }
    assert _report(run)["answers"] == []


def test_a_cancel_ends_the_evaluation(lora: FinishedJob, files: DatasetFiles, tmp_path: Path) -> None:
    run = _run(tmp_path / "run", lora, files, stop=Stop.CANCEL, stop_after=4)
    with pytest.raises(Stopped):
        evaluate(CONFIG, lora.config, run)
    assert not run.artifacts


def test_answers_are_made_fewer_at_a_time_where_memory_runs_out(
    lora: FinishedJob, files: DatasetFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuneyard.llm import evaluate as module

    sizes: list[int] = []
    generate_batch = module.generate_batch

    def scarce(model: Any, tokenizer: Any, prompts: list[Any], **settings: Any) -> list[str]:
        sizes.append(len(prompts))
        if len(prompts) > 2:
            raise MemoryError
        return generate_batch(model, tokenizer, prompts, **settings)

    monkeypatch.setattr(module, "generate_batch", scarce)
    run = _run(tmp_path / "run", lora, files)
    evaluate(replace(CONFIG, compare_with_base=False), lora.config, run)
    assert sizes[:2] == [4, 2]
    assert len(_report(run)["answers"]) == 15
