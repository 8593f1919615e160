import json
from typing import Any

from tuneyard.llm.model_card import CardFacts, model_card
from tuneyard.trainer.base_identity import BaseIdentity

HUB = BaseIdentity(id="mistralai/Mistral-7B-v0.1", revision="abc123", sha256="f" * 64)


def card(config: Any, **changes: Any) -> str:
    facts: dict[str, Any] = {
        "config": config,
        "base": HUB,
        "template": "chatml",
        "precision": "bf16",
        "dataset": "support-tickets",
        "train_samples": 90,
        "train_tokens": 12345,
        "validation_samples": 10,
        "steps": 12,
        "best_step": 8,
        "metrics": {"eval/loss": 1.25, "eval/perplexity": 3.49},
        "base_metrics": {"eval/loss": 2.5},
    }
    return model_card(CardFacts(**(facts | changes)))


def head_of(text: str) -> dict[str, Any]:
    lines = text.split("---\n")[1].splitlines()
    return {name: json.loads(value) for name, value in (line.split(": ", 1) for line in lines)}


def test_a_card_tells_the_base_its_revision_and_hash(configure) -> None:
    text = card(configure())
    assert head_of(text)["base_model"] == HUB.id and head_of(text)["library_name"] == "peft"
    assert "| its revision | abc123 |" in text and f"| SHA-256 of its files | {'f' * 64} |" in text
    assert 'from_pretrained("mistralai/Mistral-7B-v0.1", revision="abc123")' in text


def test_a_card_puts_the_base_beside_the_tuned(configure) -> None:
    text = card(configure())
    assert "| loss | 2.5 | 1.25 |" in text
    assert "| perplexity | not measured | 3.49 |" in text
    assert "token accuracy" not in text


def test_a_name_of_the_store_is_not_given_out_as_one_of_a_hub(configure) -> None:
    text = card(configure(), base=BaseIdentity(id="models/own"))
    assert "base_model" not in head_of(text)
    assert "path/to/the/base/model" in text and "its revision" not in text


def test_a_whole_models_card_names_no_adapter(configure) -> None:
    text = card(configure("full"))
    assert head_of(text)["library_name"] == "transformers"
    assert "adapter" not in text and "peft" not in text


def test_a_qloras_card_tells_how_its_base_was_held(configure) -> None:
    assert "| base in training | 4 bits, nf4 |" in card(configure("qlora"))
