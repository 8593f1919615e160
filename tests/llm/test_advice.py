import pytest

from tuneyard.datasets import Report
from tuneyard.llm.advice import fine_tuning_subject, memory_remedies, out_of_memory, usual_learning_rate
from tuneyard.llm.config import Lora


def test_overfitting_is_met_in_the_guides_order(configure) -> None:
    subject = fine_tuning_subject(configure(), Report("jsonl"))
    words = ["training data", "Vary the data", "lora_dropout", "Reduce the model", "early stopping"]
    assert [word in told for word, told in zip(words, subject.overfitting_remedies, strict=True)] == [
        True
    ] * 5
    assert subject.overfitting_changes == {
        "language_model.lora.lora_dropout": 0.1,
        "language_model.neftune_alpha": 5.0,
        "early_stopping.patience": 3,
    }


def test_what_is_set_already_is_not_offered(configure) -> None:
    config = configure(lora=Lora(dropout=0.2), neftune_alpha=5.0, patience=2, max_grad_norm=1.0)
    subject = fine_tuning_subject(config, Report("jsonl"))
    assert subject.overfitting_changes == {}
    assert "patience of 2" in subject.overfitting_remedies[-1]
    assert subject.diverging_remedies == ("Lower the learning rate.", "Warm up longer.")


@pytest.mark.parametrize(
    ("method", "offered"),
    [("full", "Use LoRA or QLoRA"), ("lora", "Use QLoRA"), ("qlora", "Reduce max_length")],
)
def test_a_lack_of_memory_is_met_with_the_next_smaller_method(configure, method, offered) -> None:
    remedies = out_of_memory(configure(method)).remedies
    assert remedies[0] == "Turn gradient_checkpointing on." and remedies[1].startswith(offered)
    frugal = out_of_memory(configure(method, gradient_checkpointing=True)).remedies
    assert frugal == remedies[1:]


def test_a_lack_of_memory_outside_of_a_step_is_met_with_a_smaller_batch_first(configure) -> None:
    words = ["batch_size", "gradient_checkpointing", "QLoRA", "max_length", "smaller base model"]
    remedies = memory_remedies(configure("lora"))
    assert [word in told for word, told in zip(words, remedies, strict=True)] == [True] * 5
    assert memory_remedies(configure("lora", batch_size=1)) == remedies[1:]


@pytest.mark.parametrize(
    ("method", "optimizer", "rate"), [("lora", "adamw", 2e-4), ("full", "adamw", 2e-5), ("lora", "sgd", 2e-2)]
)
def test_the_usual_rate_is_that_of_method_and_optimizer(configure, method, optimizer, rate) -> None:
    assert usual_learning_rate(configure(method, optimizer=optimizer)) == pytest.approx(rate)
