"""A tiny base model, small JSONL datasets, settings of quick fine-tunings, and runs that keep reports."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.learnable_task import jsonl, learnable_task
from tests.support.tiny_llm import tiny_llama
from tuneyard.datasets import Report
from tuneyard.llm.config import LanguageModelConfig, Lora, Quantization
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import DatasetFiles

Upload = Callable[..., DatasetFiles]
Configure = Callable[..., LanguageModelConfig]
Start = Callable[..., FakeRun]


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights never end an answer: four tokens show what 64 do, and all four however busy it is."""
    monkeypatch.setattr("tuneyard.llm.answers.MAX_NEW_TOKENS", 4)
    monkeypatch.setattr("tuneyard.llm.answers._SECONDS", float("inf"))


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Llama of random weights, so small that a step takes milliseconds."""
    return tiny_llama(tmp_path_factory.mktemp("base") / "tiny", vocab=512, hidden=32)


@pytest.fixture
def upload(tmp_path: Path) -> Upload:
    """Writes a dataset: `upload(rows)`, or 24 rows of the learnable task."""

    def uploaded(rows: Iterable[Mapping[str, object]] | None = None, *, name: str = "data") -> DatasetFiles:
        content = jsonl(learnable_task(24).train if rows is None else rows)
        root = tmp_path / name
        root.mkdir()
        (root / "data.jsonl").write_bytes(content)
        return DatasetFiles(root, hashlib.sha256(content).hexdigest(), Report("jsonl"))

    return uploaded


@pytest.fixture
def configure() -> Configure:
    """Settings of a small, quick fine-tuning; keywords change them."""

    def configured(method: str = "lora", **changes: Any) -> LanguageModelConfig:
        small = LanguageModelConfig(
            base_model="models/tiny",
            method=method,  # type: ignore[arg-type]
            lora=None if method == "full" else Lora(),
            quantization=Quantization() if method == "qlora" else None,
            epochs=2,
            batch_size=2,
            gradient_accumulation_steps=3,
            learning_rate=1e-3,
            precision="fp32",
            max_length=128,
            validation_fraction=0.2,
        )
        return replace(small, **changes)

    return configured


@pytest.fixture
def start(tmp_path: Path, tiny_base: Path) -> Start:
    """A run on a dataset with the tiny base; keywords go to `FakeRun`."""

    def started(files: DatasetFiles, **options: Any) -> FakeRun:
        options.setdefault("root", tmp_path / "run")
        defaults = {"cpu_threads": 1, "keep_last": 100, "base_model_files": tiny_base}
        return FakeRun(training_files=files, **defaults | options)

    return started
