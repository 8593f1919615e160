"""The README.md of an adapter or a model: what it is, what it was made of, how well it does, how to load it.

Its head is what model hubs read; the rest is for people. It writes no file.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from tuneyard.llm.config import LanguageModelConfig
from tuneyard.trainer.base_identity import BaseIdentity

_METHODS = {"full": "Full fine-tuning", "lora": "LoRA", "qlora": "QLoRA"}
_METRICS = {"eval/loss": "loss", "eval/perplexity": "perplexity", "eval/token_accuracy": "token accuracy"}


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What the card tells."""

    config: LanguageModelConfig
    base: BaseIdentity
    template: str
    """The chat template's name."""
    precision: str
    dataset: str
    """The training dataset's name or, where it has none, its SHA-256."""
    train_samples: int
    train_tokens: int
    validation_samples: int
    steps: int
    best_step: int
    metrics: Mapping[str, float]
    base_metrics: Mapping[str, float]
    """Empty where the base was not measured."""


def model_card(facts: CardFacts) -> str:
    """The card of an adapter, or of a model that was trained whole."""
    config = facts.config
    kind = "model" if config.method == "full" else "adapter"
    return "\n".join(
        [
            _head(facts),
            f"# {_METHODS[config.method]} of {facts.base.id}",
            "",
            f"This {kind} holds the weights of step {facts.best_step} of"
            f" {facts.steps}, the best by {config.watched_metric} on held-out samples.",
            "",
            *_base_rows(facts.base),
            f"| training data | {facts.dataset} |",
            f"| training samples | {facts.train_samples}, of {facts.train_tokens} tokens |",
            f"| held-out samples | {facts.validation_samples} |",
            f"| chat template | {facts.template} |",
            "",
            "## How well it does",
            "",
            *_metric_rows(facts),
            "",
            "## Settings",
            "",
            *_setting_rows(facts),
            "",
            "## Use",
            "",
            *_use(facts),
            "",
        ]
    )


def _head(facts: CardFacts) -> str:
    """YAML, written as JSON values: a base's name needs no rules of quoting of our own."""
    adapter = facts.config.method != "full"
    values: dict[str, object] = {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["tuneyard", *(["lora"] if adapter else [])],
    }
    # A name in our store is none that a hub knows.
    if not facts.base.id.startswith("models/"):
        values["base_model"] = facts.base.id
    lines = [f"{key}: {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(["---", *lines, "---", ""])


def _base_rows(base: BaseIdentity) -> list[str]:
    rows = ["| | |", "|---|---|", f"| base model | {base.id} |"]
    if base.revision:
        rows.append(f"| its revision | {base.revision} |")
    if base.sha256:
        rows.append(f"| SHA-256 of its files | {base.sha256} |")
    return rows


def _metric_rows(facts: CardFacts) -> list[str]:
    rows = ["| on held-out samples | base | tuned |", "|---|---|---|"]
    for name, told in _METRICS.items():
        if name in facts.metrics:
            before = f"{facts.base_metrics[name]:.4g}" if name in facts.base_metrics else "not measured"
            rows.append(f"| {told} | {before} | {facts.metrics[name]:.4g} |")
    return rows


def _setting_rows(facts: CardFacts) -> list[str]:
    config = facts.config
    settings: dict[str, object] = {
        "learning rate": f"{config.learning_rate:g}, {config.schedule}",
        "optimizer": config.optimizer,
        "samples per step": f"{config.effective_batch_size} ({config.batch_size} at once)",
        "maximum length": f"{config.max_length} tokens",
        "precision": facts.precision,
        "seed": config.seed,
    }
    if lora := config.lora:
        layers = ", ".join(lora.target_modules) or "the architecture's default"
        settings["adapters"] = f"r {lora.r}, alpha {lora.alpha:g}, dropout {lora.dropout:g}; layers: {layers}"
    if bits := config.quantization:
        settings["base in training"] = f"{bits.bits} bits" + (
            f", {bits.quant_type}" if bits.bits == 4 else ""
        )
    return [
        "| setting | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in settings.items()),
    ]


def _use(facts: CardFacts) -> list[str]:
    base = facts.base
    if facts.config.method == "full":
        return [
            "```python",
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            'model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")',
            'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")',
            "```",
        ]
    is_stored = base.id.startswith("models/")
    where = "path/to/the/base/model" if is_stored else base.id
    revision = f', revision="{base.revision}"' if base.revision and not is_stored else ""
    return [
        "```python",
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f'base = AutoModelForCausalLM.from_pretrained("{where}"{revision})',
        'model = PeftModel.from_pretrained(base, "path/to/this/folder")',
        'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")',
        "```",
        "",
        "The adapter belongs to this base and revision: on another one it says something else.",
    ]
