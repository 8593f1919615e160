import json
from typing import Any

from tuneyard.diffusion.config import Lora
from tuneyard.diffusion.model_card import CardFacts, model_card
from tuneyard.trainer.base_identity import BaseIdentity

HUB = BaseIdentity(id="someone/some-pipeline", revision="abc123", sha256="f" * 64)


def card(config: Any, **changes: Any) -> str:
    facts: dict[str, Any] = {
        "config": config,
        "base": HUB,
        "family": "Stable Diffusion XL",
        "precision": "bf16",
        "dataset": "drawings",
        "train_images": 20,
        "class_images": 0,
        "validation_images": 3,
        "steps": 12,
        "best_step": 8,
        "metrics": {"eval/loss": 0.125},
        "base_metrics": {"eval/loss": 0.25},
        "kohya_name": "kohya/zwx.safetensors",
        "samples": "samples/step-000008.png",
        "prompts": ("a zwx\ncat",),
    }
    return model_card(CardFacts(**(facts | changes)))


def head_of(text: str) -> dict[str, Any]:
    lines = text.split("---\n")[1].splitlines()
    return {name: json.loads(value) for name, value in (line.split(": ", 1) for line in lines)}


def test_a_card_tells_the_base_its_revision_and_hash(configure) -> None:
    text = card(configure())
    assert head_of(text)["base_model"] == HUB.id and head_of(text)["library_name"] == "diffusers"
    assert "| its revision | abc123 |" in text and f"| SHA-256 of its files | {'f' * 64} |" in text
    assert 'from_pretrained("someone/some-pipeline", revision="abc123")' in text


def test_a_card_puts_the_base_beside_the_tuned(configure) -> None:
    assert "| loss | 0.25 | 0.125 |" in card(configure())
    assert "| loss | not measured | 0.125 |" in card(configure(), base_metrics={})


def test_a_card_names_the_words_that_call_it(configure) -> None:
    text = card(configure(trigger_words=("zwx", "ink style")))
    assert "Call it with `zwx`, `ink style` in the prompt." in text
    assert head_of(text)["instance_prompt"] == "zwx, ink style"
    assert "Call it with" not in card(configure())


def test_a_card_shows_what_is_drawn_where_something_is(configure) -> None:
    text = card(configure())
    assert "(samples/step-000008.png)" in text and "1. a zwx cat" in text
    assert "![" not in card(configure(), samples="")


def test_a_name_of_the_store_is_not_given_out_as_one_of_a_hub(configure) -> None:
    text = card(configure(), base=BaseIdentity(id="models/own"))
    assert "base_model" not in head_of(text) and "path/to/the/base/model" in text


def test_a_card_tells_only_settings_that_are_on(configure) -> None:
    text = card(configure(min_snr_gamma=5.0, lora=Lora(r=8, alpha=8.0, target_modules=("to_q",))))
    assert "| min-SNR gamma | 5 |" in text and "layers: to_q" in text
    assert "noise offset" not in text
