"""What training leaves behind, tried and evaluated as the platform does: one pass through all of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.learnable_task import jsonl, learnable_task
from tests.support.tiny_llm import tiny_llama
from tuneyard.datasets import check
from tuneyard.llm import evaluate, finetune
from tuneyard.llm.config import LanguageModelConfig, Lora, Quantization
from tuneyard.llm.inference import open_model
from tuneyard.trainer.evaluate_config import EvaluateConfig
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.finished_model import FinishedModel
from tuneyard.trainer.run import DatasetFiles
from tuneyard.v1 import inference_service_pb2 as pb
from tuneyard.v1 import job_pb2, training_pb2

CONFIG = LanguageModelConfig(
    base_model="models/tiny",
    lora=Lora(r=8, alpha=32.0, target_modules=("all-linear",)),
    epochs=None,
    max_steps=6,
    batch_size=4,
    gradient_accumulation_steps=1,
    learning_rate=5e-3,
    max_length=128,
)
METHODS = {
    "lora": CONFIG,
    "qlora": replace(CONFIG, method="qlora", quantization=Quantization(nested=True)),
    "full": replace(CONFIG, method="full", lora=None, learning_rate=1e-3),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> DatasetFiles:
    folder = tmp_path_factory.mktemp("data")
    (folder / "train.jsonl").write_bytes(jsonl(learnable_task(60).train))
    return DatasetFiles(dir=folder, sha256="d" * 64, report=check(folder, format="jsonl"))


def _artifacts(run: FakeRun, folder: Path) -> Path:
    """The run's artifacts under their names, as a later job or an inference worker gets them."""
    for name, saved in run.artifacts.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(saved.path.read_bytes())
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_a_finished_job_answers_and_evaluates_to_the_numbers_of_its_training(
    base: Path, files: DatasetFiles, tmp_path: Path, method: str
) -> None:
    config = METHODS[method]
    root = tmp_path / "root"
    root.mkdir()
    trained = FakeRun(root=root, training_files=files, base_model_files=base)
    result = finetune.train(config, trained)
    artifacts = _artifacts(trained, tmp_path / "artifacts")

    later = tmp_path / "later"
    later.mkdir()
    measuring = FakeRun(root=later, training_files=files, base_model_files=base, source_files=artifacts)
    asked = EvaluateConfig(source_job="jobs/a", dataset="datasets/kinds", split="val", is_own_dataset=True)
    measured = evaluate.evaluate(asked, config, measuring)
    # What is stored is rounded to the base's own number format.
    assert measured.metrics["eval/loss"] == pytest.approx(result.metrics["eval/loss"], rel=2e-3)
    assert measured.metrics["eval/loss"] < measured.metrics["base/loss"]
    report = json.loads(measuring.artifacts["report.json"].path.read_text(encoding="utf-8"))
    assert len(report["answers"]) == report["split"]["samples"]

    pieces = _answer(artifacts, base, config)
    assert [piece.from_base for piece in pieces if piece.done] == [False, True]


def _answer(artifacts: Path, base: Path, config: LanguageModelConfig) -> list[pb.GenerateTextResponse]:
    spec = job_pb2.JobSpec()
    spec.training.base_model = config.base_model
    task = spec.training.language_model
    task.method = training_pb2.FineTuningMethod.Value(f"FINE_TUNING_METHOD_{config.method.upper()}")
    task.quantization.use_4bit = config.method == "qlora"
    model = FinishedModel(dir=artifacts, spec=spec, device="cpu", cpu_threads=1, base=lambda: base)
    turns = [pb.ChatTurn(role="user", content="What kinds are line and two?")]
    request = pb.GenerateTextRequest(messages=turns, max_new_tokens=8, compare_with_base=True)
    answers: Any = open_model(model).answer("GenerateText", request.SerializeToString(), check=lambda: None)
    return [pb.GenerateTextResponse.FromString(piece) for piece in answers]
