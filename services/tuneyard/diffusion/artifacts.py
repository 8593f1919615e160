"""What a finished training leaves behind: the adapters in two formats, a card, numbers, and their origin."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tuneyard.diffusion.base_source import FoundBase
from tuneyard.diffusion.config import TextToImageConfig
from tuneyard.diffusion.kohya_metadata import TrainingFacts, kohya_metadata
from tuneyard.diffusion.kohya_names import KohyaNames
from tuneyard.diffusion.learner import Learner
from tuneyard.diffusion.lora_files import WEIGHTS_NAME, lora_part, save_diffusers, save_kohya
from tuneyard.diffusion.model_card import CardFacts, model_card
from tuneyard.diffusion.pipeline import Pipeline
from tuneyard.diffusion.safe_pipeline import Kind
from tuneyard.diffusion.training_data import TrainingData
from tuneyard.trainer.json_files import save_json
from tuneyard.trainer.run import ArtifactKind, Run

_FAMILIES: dict[Kind, str] = {
    "sd": "Stable Diffusion",
    "sdxl": "Stable Diffusion XL",
    "sd3": "Stable Diffusion 3",
}
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")
_LARGE_LORA_BYTES = 500_000_000


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished training."""

    config: TextToImageConfig
    learner: Learner
    """With the weights that are to be stored."""
    base: FoundBase
    pipeline: Pipeline
    data: TrainingData
    metrics: Mapping[str, float]
    """Of the weights that are stored."""
    samples: str
    """The artifact that shows what they draw; "" where there is none."""
    early_stopped: bool

    @property
    def base_metrics(self) -> Mapping[str, float]:
        """The base's, where they were measured."""
        return self.learner.base_metrics or {}

    @property
    def kohya_name(self) -> str:
        """The artifact in kohya's format: users see its name in menus."""
        words = self.config.trigger_words or (self.base.identity.id.rpartition("/")[2],)
        return f"kohya/{_NOT_IN_NAMES.sub('-', '-'.join(words)).strip('-.')[:80] or 'lora'}.safetensors"


def save_artifacts(run: Run, outcome: Outcome) -> None:
    """Writes and hands over every artifact; the manifest last."""
    stored_bytes = _save_weights(run, outcome)
    _save_chart(run, outcome)
    card = run.work_dir / "README.md"
    card.write_text(model_card(_card_facts(run, outcome)), encoding="utf-8")
    run.save_artifact(
        card,
        name="README.md",
        kind=ArtifactKind.ADAPTER,
        media_type="text/markdown",
        description="What it is, how it does, and how to load it",
    )
    save_json(
        run,
        "metrics.json",
        _metrics(outcome),
        kind=ArtifactKind.METRICS,
        description="Every evaluation, base and tuned",
    )
    save_json(
        run,
        "manifest.json",
        run.manifest(**_facts(outcome, stored_bytes)),
        kind=ArtifactKind.MANIFEST,
        description="Request, settings, data, base model, versions and metrics",
    )


def _save_weights(run: Run, outcome: Outcome) -> int:
    """Stores both formats; returns the bytes of one."""
    folder = run.work_dir / "lora"
    folder.mkdir()
    parts = {name: lora_part(module) for name, module in outcome.learner.adapted.items()}
    identity = outcome.base.identity
    facts = {
        "base_model": identity.id,
        "base_model_revision": identity.revision,
        "base_model_sha256": identity.sha256,
        "dataset_sha256": run.dataset().sha256,
        "trigger_words": ", ".join(outcome.config.trigger_words),
    }
    plain = save_diffusers(parts, folder, metadata=facts)
    kohya = save_kohya(
        parts,
        folder / "kohya.safetensors",
        KohyaNames.of(outcome.pipeline.kind, outcome.pipeline.config(outcome.pipeline.index.network)),
        metadata=kohya_metadata(_training_facts(run, outcome), parts),
    )
    for path, name, description in (
        (plain, WEIGHTS_NAME, "The LoRA, as diffusers loads it"),
        (kohya, outcome.kohya_name, "The LoRA, as ComfyUI and A1111 load it"),
    ):
        run.save_artifact(
            path,
            name=name,
            kind=ArtifactKind.ADAPTER,
            media_type="application/octet-stream",
            description=description,
        )
    size = plain.stat().st_size
    if size > _LARGE_LORA_BYTES:
        run.warn(
            "large_adapter",
            f"The LoRA has {size / 1e6:.0f} MB: a smaller lora_r or fewer target_modules make it small.",
        )
    return size


def _training_facts(run: Run, outcome: Outcome) -> TrainingFacts:
    counters = outcome.learner.counters
    return TrainingFacts(
        config=outcome.config,
        base=outcome.base,
        pipeline=outcome.pipeline,
        splits=outcome.data.splits,
        dataset_sha256=run.dataset().sha256,
        precision=outcome.learner.precision,
        steps=counters.step,
        stored_step=counters.best_step,
        name=Path(outcome.kohya_name).stem,
    )


def _save_chart(run: Run, outcome: Outcome) -> None:
    """The losses over the steps, the base's beside them."""
    # It takes a second to import, and is wanted only here.
    from matplotlib.figure import Figure

    counters = outcome.learner.counters
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    if counters.losses.points:
        axes.plot(*zip(*counters.losses.points, strict=True), color="#8888cc", lw=0.8, label="train/loss")
    held_out = [(step, values["eval/loss"]) for step, values in counters.evaluations]
    if "eval/loss" in outcome.base_metrics:
        held_out.insert(0, (0, outcome.base_metrics["eval/loss"]))
    axes.plot(*zip(*held_out, strict=True), "o-", color="#cc5500", ms=3, label="eval/loss")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.legend(fontsize=8)
    path = run.work_dir / "loss_curve.png"
    figure.savefig(path, dpi=110)
    run.save_artifact(
        path,
        name=path.name,
        kind=ArtifactKind.IMAGE,
        media_type="image/png",
        description="Losses over the steps",
    )


def _metrics(outcome: Outcome) -> dict[str, Any]:
    counters = outcome.learner.counters
    return {
        "best_step": counters.best_step,
        "metrics": dict(outcome.metrics),
        "base": dict(outcome.base_metrics),
        "history": [{"step": step, **values} for step, values in counters.evaluations],
    }


def _card_facts(run: Run, outcome: Outcome) -> CardFacts:
    counters, splits = outcome.learner.counters, outcome.data.splits
    dataset = run.manifest()["dataset"] or {}
    return CardFacts(
        config=outcome.config,
        base=outcome.base.identity,
        family=_FAMILIES[outcome.pipeline.kind],
        precision=outcome.learner.precision,
        dataset=dataset.get("name") or dataset.get("sha256") or "",
        train_images=len(splits.train),
        class_images=len(splits.class_images),
        validation_images=len(splits.validation),
        steps=counters.step,
        best_step=counters.best_step,
        metrics=outcome.metrics,
        base_metrics=outcome.base_metrics,
        kohya_name=outcome.kohya_name,
        samples=outcome.samples,
        prompts=outcome.data.prompts,
    )


def _facts(outcome: Outcome, stored_bytes: int) -> dict[str, Any]:
    """The manifest's, beside those of the request."""
    data, counters = outcome.data, outcome.learner.counters
    return {
        "config": asdict(outcome.config),
        "method": "lora",
        "kind": outcome.pipeline.kind,
        "base": asdict(outcome.base.identity),
        "parts": sorted(outcome.learner.adapted),
        "kohya": outcome.kohya_name,
        "samples": outcome.samples,
        "prompts": list(data.prompts),
        "precision": outcome.learner.precision,
        "threads": torch.get_num_threads(),
        "train_images": len(data.splits.train),
        "class_images": len(data.splits.class_images),
        "validation_images": len(data.splits.validation),
        "held_out": data.splits.held_out_sha256,
        "adapter_bytes": stored_bytes,
        "steps": counters.step,
        "best_step": counters.best_step,
        "early_stopped": outcome.early_stopped,
        "metrics": dict(outcome.metrics),
        "base_metrics": dict(outcome.base_metrics),
    }
