"""A model that has read a little English learns a task, as unseen rows show; a frozen adapter does not."""

from pathlib import Path

import pytest
import torch

from tests.support.learnable_task import learnable_task
from tests.support.pretrained_llm import pretrained_llama
from tuneyard.datasets.jsonl_rules import Message
from tuneyard.llm import finetune
from tuneyard.llm.config import Lora
from tuneyard.llm.finetune import train
from tuneyard.llm.generation import generate_batch
from tuneyard.llm.templates import chat_template

pytestmark = pytest.mark.integration

TASK = learnable_task(500)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained_llama(tmp_path_factory.mktemp("reader") / "llama")


@pytest.fixture
def exact_match(upload, configure, start, reader, monkeypatch):
    """Fine-tunes with a method and tells the share of held-out rows that are answered exactly."""

    def matched(method: str) -> float:
        outcomes = []
        store = finetune.save_artifacts

        def keep(run, outcome) -> None:
            outcomes.append(outcome)
            store(run, outcome)

        monkeypatch.setattr(finetune, "save_artifacts", keep)
        config = configure(
            method,
            lora=None if method == "full" else Lora(r=16, dropout=0.0, target_modules=("all-linear",)),
            # A full fine-tuning learns the task sooner.
            epochs=2 if method == "full" else 6,
            batch_size=8,
            gradient_accumulation_steps=1,
            learning_rate=1e-3 if method == "full" else 3e-3,
        )
        train(config, start(upload(TASK.train), base_model_files=reader))
        (outcome,) = outcomes
        template = chat_template(outcome.tokenizer)
        prompts = [template.prompt([Message("user", row["instruction"])]) for row in TASK.held_out]
        answers = generate_batch(outcome.learner.model, outcome.tokenizer, prompts, max_new_tokens=16)
        right = [
            answer.strip() == row["response"] for answer, row in zip(answers, TASK.held_out, strict=True)
        ]
        return sum(right) / len(right)

    return matched


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_a_task_is_learned(exact_match, method) -> None:
    assert exact_match(method) > 0.6


def test_a_frozen_adapter_learns_nothing(exact_match, monkeypatch) -> None:
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, closure=None: None)
    assert exact_match("lora") < 0.05
