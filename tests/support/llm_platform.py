"""A platform that trains language models, the command line against it, and plain loading of the results."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.learnable_task import jsonl
from tests.support.platform import Platform, assert_gapless, platform
from tuneyard.v1 import event_pb2, job_pb2, training_pb2

PLAIN_LOADING = Path(__file__).with_name("plain_loading.py")


@contextmanager
def llm_platform(root: Path) -> Iterator[Platform]:
    """A gateway and the trainer of language models, which may fetch nothing."""
    with platform(root, trainers={"llm": "tuneyard.llm"}, extra={"TUNEYARD_OFFLINE": "true"}) as started:
        yield started


def tuneyard(running: Platform, *arguments: object, code: int = 0) -> list[Any]:
    """Runs a command with --json, which must end with `code`; returns the JSON documents that it wrote."""
    ran = subprocess.run(
        [sys.executable, "-m", "tuneyard.cli", *map(str, arguments), "--json", "--server", running.address],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ran.returncode == code, ran.stderr + ran.stdout
    text, documents, decoder = ran.stdout.strip(), [], json.JSONDecoder()
    while text:
        document, end = decoder.raw_decode(text)
        documents.append(document)
        text = text[end:].lstrip()
    return documents


def import_base(running: Platform, folder: Path, name: str, *, family: str = "llm") -> str:
    """Imports a folder by the command line; returns the model's name."""
    (model,) = tuneyard(running, "models", "import", folder, "--family", family, "--name", name)
    assert model["state"] == "MODEL_STATE_READY", model
    return str(model["name"])


def upload_rows(
    running: Platform, folder: Path, name: str, rows: Mapping[str, Iterable[Mapping[str, object]]]
) -> str:
    """Uploads rows by split as a ZIP of JSONL files; returns the dataset's name when it is READY."""
    path = folder / f"{name}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for split, those in rows.items():
            archive.writestr(f"{split}.jsonl", jsonl(those))
    (dataset,) = tuneyard(running, "datasets", "upload", path, "--format", "jsonl", "--name", name)
    return str(dataset["name"])


def fine_tuning(
    dataset: str, base_model: str, method: str = "lora", **settings: Any
) -> training_pb2.TrainingSpec:
    """A short fine-tuning in fp32; keywords are hyperparameters."""
    values: dict[str, Any] = {
        "batch_size": 4,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-3,
        "precision": training_pb2.PRECISION_FP32,
        **settings,
    }
    return training_pb2.TrainingSpec(
        dataset=dataset,
        base_model=base_model,
        seed=1,
        hyperparameters=training_pb2.Hyperparameters(**values),
        checkpoints=training_pb2.CheckpointPolicy(save_steps=4),
        language_model=training_pb2.LanguageModel(
            method=training_pb2.FineTuningMethod.Value(f"FINE_TUNING_METHOD_{method.upper()}"), max_length=128
        ),
    )


def finished(
    running: Platform, job: job_pb2.Job, *, within: float = 180
) -> tuple[job_pb2.Job, list[event_pb2.JobEvent]]:
    """Waits for a job that must succeed; returns it with its events."""
    events = running.watch(job.name).wait(within=within)
    assert_gapless(events)
    ended = running.job(job.name)
    assert ended.state == job_pb2.JOB_STATE_SUCCEEDED, ended.error
    return ended, events


def loaded_plainly(prompt: str, *models: Sequence[Path]) -> list[list[float]]:
    """The logits after a prompt of each model, or model and adapter, by transformers and peft alone.

    They run in a process of their own, which knows nothing of Tuneyard.
    """
    return run_plainly(PLAIN_LOADING, prompt, *models)


def run_plainly(script: Path, prompt: str, *models: Sequence[Path]) -> list[list[float]]:
    """What a script that knows nothing of Tuneyard makes of a prompt with each of the models."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TUNEYARD_")}
    named = json.dumps([[str(folder) for folder in model] for model in models])
    ran = subprocess.run(
        [sys.executable, "-P", str(script), prompt, named],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment | {"HF_HUB_OFFLINE": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    numbers: list[list[float]] = json.loads(ran.stdout.splitlines()[-1])
    return numbers
