"""Fine-tuning language models through the whole platform, from an imported folder to a merged model."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.support.learnable_task import LearnableTask, learnable_task
from tests.support.llm_platform import (
    fine_tuning,
    finished,
    import_base,
    llm_platform,
    loaded_plainly,
    tuneyard,
    upload_rows,
)
from tests.support.platform import Platform
from tests.support.pretrained_llm import pretrained_llama
from tests.support.tiny_llm import tiny_llama
from tuneyard.v1 import job_pb2, training_pb2

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Ready:
    """A running platform with a base of random weights and a dataset."""

    platform: Platform
    base: Path
    base_model: str
    dataset: str
    task: LearnableTask


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    root = tmp_path_factory.mktemp("llm")
    base = tiny_llama(root / "base" / "tiny")
    task = learnable_task(80, held_out=16)
    with llm_platform(root / "platform") as running:
        name = import_base(running, base, "tiny")
        rows = {"train": task.train, "val": task.held_out}
        yield Ready(running, base, name, upload_rows(running, root, "sorting", rows), task)


@pytest.fixture(scope="module")
def trained(ready: Ready) -> job_pb2.Job:
    """A finished LoRA fine-tuning of twelve steps, asked for on the command line."""
    *_, job = tuneyard(
        ready.platform,
        *("train", "llm", "--dataset", ready.dataset, "--base-model", ready.base_model, "--max-steps", 12),
        *("--batch-size", 8, "--gradient-accumulation-steps", 1, "--learning-rate", 0.01, "--lora-r", 8),
        *("--target-modules", "all-linear", "--max-length", 128, "--precision", "fp32"),
    )
    assert job["state"] == "JOB_STATE_SUCCEEDED", job
    return ready.platform.job(job["name"])


def spec(ready: Ready, method: str = "lora", **settings: Any) -> training_pb2.TrainingSpec:
    return fine_tuning(ready.dataset, ready.base_model, method, **settings)


def downloaded(ready: Ready, job: str, folder: Path, *paths: str) -> Path:
    tuneyard(ready.platform, "artifacts", "download", job, *paths, "-o", folder)
    return folder


def test_an_imported_folder_says_what_it_is(ready: Ready) -> None:
    (model,) = tuneyard(ready.platform, "models", "show", ready.base_model)
    assert (model["family"], model["architecture"]) == ("FAMILY_LLM", "LlamaForCausalLM")


def test_a_base_that_asks_for_remote_code_is_refused(ready: Ready, tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "evil")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_evil.EvilForCausalLM"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_evil.py").write_text("raise SystemExit('ran')\n")
    (refused,) = tuneyard(
        ready.platform, *("models", "import", folder, "--family", "llm", "--name", "evil"), code=1
    )
    assert "auto_map" in json.dumps(refused)


def test_bad_lines_are_named_and_the_rest_is_trained_on(ready: Ready, tmp_path: Path) -> None:
    rows: list[Any] = [dict(row) for row in learnable_task(60, seed=3).train]
    rows[6]["response"] = ""
    dataset = upload_rows(ready.platform, tmp_path, "one-bad", {"train": rows})
    (shown,) = tuneyard(ready.platform, "datasets", "show", dataset)
    places = {(each.get("path"), int(each.get("line", 0))) for each in shown["report"]["findings"]}
    assert ("train.jsonl", 7) in places
    asked = fine_tuning(dataset, ready.base_model, max_steps=2)
    finished(ready.platform, ready.platform.train(asked))


def test_a_preview_shows_what_a_job_then_trains_on(ready: Ready, trained: job_pb2.Job) -> None:
    (preview,) = tuneyard(
        ready.platform,
        *("datasets", "preview", ready.dataset, "--base-model", ready.base_model, "--max-length", 128),
    )
    report = json.loads(ready.platform.artifact(trained.name, "token-report.json"))["train"]
    totals = {name: int(value) for name, value in preview["totals"].items() if name != "histogram"}
    assert totals["rows"] == totals["usableRows"] == int(preview["rowCount"]) == report["examples"]
    assert totals["keptTokens"] == report["tokens_per_epoch"]
    assert totals["trainedTokens"] == report["trained_tokens_per_epoch"]
    learned = "".join(part["text"] for part in preview["rows"][0]["texts"] if part.get("isTrained"))
    assert learned.strip() == f"{ready.task.train[0]['response']}<|im_end|>"


def test_an_estimate_orders_the_methods_by_memory(ready: Ready) -> None:
    sizes = []
    for method in ("full", "lora"):
        common = (
            "--dataset",
            ready.dataset,
            "--base-model",
            ready.base_model,
            "--max-length",
            128,
            "--batch-size",
            4,
        )
        (estimate,) = tuneyard(ready.platform, "estimate", "llm", *common, "--method", method)
        sizes.append(int(estimate["memory"]["hostBytes"]))
    assert sizes[0] > sizes[1] > 0


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_each_method_trains_and_leaves_what_plain_libraries_load(
    ready: Ready, tmp_path: Path, method: str
) -> None:
    asked = spec(ready, method, max_steps=6, eval_steps=3, learning_rate=5e-3)
    job, events = finished(ready.platform, ready.platform.train(asked))
    held_out = [e.metrics.values["eval/loss"] for e in events if "eval/loss" in e.metrics.values]
    assert held_out[-1] < held_out[0]
    named = {name for e in events for name in e.metrics.values}
    assert {"train/learning_rate", "train/grad_norm", "eval/perplexity", "eval/token_accuracy"} <= named
    assert any(e.sample.text.tuned or e.sample.text.prompt for e in events if e.HasField("sample"))
    folder = downloaded(ready, job.name, tmp_path)
    assert {"manifest.json", "metrics.json", "token-report.json", "training-sample.html"} <= {
        path.name for path in folder.iterdir()
    }
    tuned = (folder / "model",) if method == "full" else (ready.base, folder / "adapter")
    before, after = loaded_plainly(ready.task.held_out[0]["instruction"], (ready.base,), tuned)
    assert np.abs(np.subtract(after, before)).max() > 1e-3


def test_an_exported_adapter_and_a_merged_model_answer_alike(
    ready: Ready, trained: job_pb2.Job, tmp_path: Path
) -> None:
    tuneyard(ready.platform, "export", trained.name, "--to", "adapter", "-o", tmp_path / "exported")
    (exported,) = (path.parent for path in (tmp_path / "exported").rglob("adapter_config.json"))
    assert all(
        np.abs(value).max() > 0 for name, value in load_file(exported / "adapter_model.safetensors").items()
    )
    *_, merged = tuneyard(ready.platform, "merge", trained.name, "--output-path", "models/merged")
    assert merged["state"] == "JOB_STATE_SUCCEEDED", merged
    (model,) = tuneyard(ready.platform, "models", "show", "merged")
    assert model["state"] == "MODEL_STATE_READY"
    manifest = json.loads(ready.platform.artifact(merged["name"], "manifest.json"))
    assert "top1_agreement" in json.dumps(manifest)

    folder = downloaded(ready, merged["name"], tmp_path / "merged")
    (config,) = folder.rglob("config.json")
    one, other = loaded_plainly(
        ready.task.held_out[0]["instruction"], (config.parent,), (ready.base, exported)
    )
    assert np.abs(np.subtract(one, other)).max() < 1e-4


def test_a_merged_model_is_a_base_to_go_on_from(ready: Ready, trained: job_pb2.Job) -> None:
    *_, merged = tuneyard(ready.platform, "merge", trained.name, "--output-path", "models/again")
    assert merged["state"] == "JOB_STATE_SUCCEEDED", merged
    finished(ready.platform, ready.platform.train(fine_tuning(ready.dataset, "models/again", max_steps=1)))


def test_answers_of_the_base_stand_beside_the_tuned_ones(ready: Ready, trained: job_pb2.Job) -> None:
    (said,) = tuneyard(
        ready.platform,
        *("chat", trained.name, ready.task.held_out[0]["instruction"], "--base"),
        *("--temperature", 0, "--max-new-tokens", 8, "--seed", 1),
    )
    assert said["answer"] != said["base"]


def test_a_pretrained_model_learns_what_a_frozen_one_does_not(ready: Ready, tmp_path: Path) -> None:
    base = import_base(ready.platform, pretrained_llama(tmp_path / "read"), "read")
    task = learnable_task(500, held_out=60)
    dataset = upload_rows(ready.platform, tmp_path, "kinds", {"train": task.train, "val": task.held_out})
    asked = fine_tuning(
        dataset, base, epochs=6, batch_size=8, gradient_accumulation_steps=1, learning_rate=3e-3
    )
    asked.checkpoints.ClearField("save_steps")
    asked.language_model.lora.lora_r = 16
    asked.language_model.lora.lora_dropout = 0
    asked.language_model.lora.target_modules[:] = ["all-linear"]
    learned, _ = finished(ready.platform, ready.platform.train(asked), within=240)
    *_, evaluated = tuneyard(ready.platform, "evaluate", learned.name)
    events = ready.platform.watch(evaluated["job"]).wait()
    metrics = next(event.result.metrics for event in events if event.HasField("result"))
    assert metrics["base/exact_match"] < 0.05
    assert metrics["eval/exact_match"] > 0.6
