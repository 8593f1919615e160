"""The README.md of a LoRA: what it is, what it was made of, how it does, how it is loaded, and what it draws.

Its head is what model hubs read; the rest is for people. It writes no file.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from tuneyard.diffusion.config import TextToImageConfig
from tuneyard.diffusion.lora_files import WEIGHTS_NAME
from tuneyard.trainer.base_identity import BaseIdentity

_LICENCE = "The base model's licence holds for what is made with it: see its own card."


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What the card tells."""

    config: TextToImageConfig
    base: BaseIdentity
    family: str
    """Of the base, for people: "Stable Diffusion XL"."""
    precision: str
    dataset: str
    """The training dataset's name or, where it has none, its SHA-256."""
    train_images: int
    class_images: int
    validation_images: int
    steps: int
    best_step: int
    metrics: Mapping[str, float]
    base_metrics: Mapping[str, float]
    kohya_name: str
    """The artifact in kohya's format."""
    samples: str = ""
    """The artifact that shows the base beside the tuned model; "" where there is none."""
    prompts: tuple[str, ...] = ()
    """That are drawn there, from top to bottom."""


def model_card(facts: CardFacts) -> str:
    """The card of a LoRA."""
    config = facts.config
    return "\n".join(
        [
            _head(facts),
            f"# LoRA of {facts.base.id}",
            "",
            f"It holds the weights of step {facts.best_step} of {facts.steps}, the best by"
            f" {config.watched_metric} on held-out images.",
            "",
            *_trigger(config),
            *_samples(facts),
            *_base_rows(facts),
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
            _LICENCE,
            "",
        ]
    )


def _head(facts: CardFacts) -> str:
    """YAML, written as JSON values: a base's name needs no rules of quoting of our own."""
    values: dict[str, object] = {
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": ["tuneyard", "lora", "text-to-image"],
    }
    # A name in our store is none that a hub knows.
    if not facts.base.id.startswith("models/"):
        values["base_model"] = facts.base.id
    if facts.config.trigger_words:
        values["instance_prompt"] = ", ".join(facts.config.trigger_words)
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    return "\n".join(["---", *lines, "---", ""])


def _trigger(config: TextToImageConfig) -> list[str]:
    words = config.trigger_words or ((config.instance_prompt,) if config.instance_prompt else ())
    if not words:
        return []
    return [f"Call it with {', '.join(f'`{word}`' for word in words)} in the prompt.", ""]


def _samples(facts: CardFacts) -> list[str]:
    if not facts.samples:
        return []
    prompts = [f"{number}. {_one_line(prompt)}" for number, prompt in enumerate(facts.prompts, start=1)]
    return [f"![base on the left, tuned on the right]({facts.samples})", "", *prompts, ""]


def _base_rows(facts: CardFacts) -> list[str]:
    base = facts.base
    rows = ["| | |", "|---|---|", f"| base model | {base.id} ({facts.family}) |"]
    if base.revision:
        rows.append(f"| its revision | {base.revision} |")
    if base.sha256:
        rows.append(f"| SHA-256 of its files | {base.sha256} |")
    rows += [f"| training data | {facts.dataset} |", f"| training images | {facts.train_images} |"]
    if facts.class_images:
        rows.append(f"| class images | {facts.class_images} |")
    return [*rows, f"| held-out images | {facts.validation_images} |"]


def _metric_rows(facts: CardFacts) -> list[str]:
    rows = ["| on held-out images | base | tuned |", "|---|---|---|"]
    for name, value in facts.metrics.items():
        before = f"{facts.base_metrics[name]:.4g}" if name in facts.base_metrics else "not measured"
        rows.append(f"| {name.removeprefix('eval/')} | {before} | {value:.4g} |")
    return rows


def _setting_rows(facts: CardFacts) -> list[str]:
    config, lora = facts.config, facts.config.lora
    layers = ", ".join(lora.target_modules) or "attention projections"
    settings: dict[str, object] = {
        "adapter": f"r {lora.r}, alpha {lora.alpha:g}, dropout {lora.dropout:g}; layers: {layers}",
        "text encoders": "adapted too" if config.train_text_encoder else "as they were",
        "resolution": f"{config.resolution} px, in buckets of aspect ratios",
        "learning rate": f"{config.learning_rate:g}, {config.schedule}",
        "optimizer": config.optimizer,
        "images per step": f"{config.effective_batch_size} ({config.batch_size} at once)",
        "precision": facts.precision,
        "seed": config.seed,
    }
    for name, value in (
        ("min-SNR gamma", config.min_snr_gamma),
        ("noise offset", config.noise_offset),
        ("caption dropout", config.caption_dropout),
        ("moving average", config.ema_decay),
        ("prior loss weight", config.prior_loss_weight),
    ):
        if value:
            settings[name] = f"{value:g}"
    return [
        "| setting | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in settings.items()),
    ]


def _use(facts: CardFacts) -> list[str]:
    base = facts.base
    is_stored = base.id.startswith("models/")
    where = "path/to/the/base/model" if is_stored else base.id
    revision = f', revision="{base.revision}"' if base.revision and not is_stored else ""
    prompt = json.dumps(_one_line(_prompt(facts)), ensure_ascii=False)
    return [
        "```python",
        "from diffusers import AutoPipelineForText2Image",
        "",
        f'pipeline = AutoPipelineForText2Image.from_pretrained("{where}"{revision})',
        f'pipeline.load_lora_weights("path/to/this/folder", weight_name="{WEIGHTS_NAME}")',
        f"image = pipeline({prompt}).images[0]",
        "```",
        "",
        f"`{facts.kohya_name}` holds the same weights for ComfyUI, A1111 and the like: it goes into their"
        " folder of LoRAs.",
        "",
        "The LoRA belongs to this base and its kin: on another one it draws something else.",
    ]


def _prompt(facts: CardFacts) -> str:
    return facts.prompts[0] if facts.prompts else facts.config.instance_prompt or "a picture"


def _one_line(text: str) -> str:
    return " ".join(text.split())
