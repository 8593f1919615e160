"""What a finished fine-tuning leaves behind: the adapter or the model, numbers, and their origin."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from tuneyard.llm.adapters import ADAPTER_WEIGHTS, save_adapter
from tuneyard.llm.base_source import FoundBase
from tuneyard.llm.config import LanguageModelConfig
from tuneyard.llm.data import LanguageData
from tuneyard.llm.folder_files import media_type
from tuneyard.llm.learner import Learner
from tuneyard.llm.model_card import CardFacts, model_card
from tuneyard.llm.tokenizer_files import save_tokenizer
from tuneyard.trainer.json_files import save_json
from tuneyard.trainer.run import ArtifactKind, Run

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
_SHARD_SIZE = "5GB"
_LARGE_ADAPTER_BYTES = 100_000_000
"""The guide's "small (< 100MB)"."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished fine-tuning."""

    config: LanguageModelConfig
    learner: Learner
    """With the weights that are to be stored."""
    tokenizer: PreTrainedTokenizerBase
    base: FoundBase
    data: LanguageData
    metrics: Mapping[str, float]
    """Of the weights that are stored."""
    early_stopped: bool

    @property
    def dtype(self) -> torch.dtype:
        """The base's own number format, in which is stored what was trained."""
        return _DTYPES[self.base.dtype]

    @property
    def base_metrics(self) -> Mapping[str, float]:
        """The base's, where it was measured."""
        return self.learner.base.metrics if self.learner.base else {}


def save_artifacts(run: Run, outcome: Outcome) -> None:
    """Writes and hands over every artifact; the manifest last."""
    stored_bytes = _save_weights(run, outcome)
    save_json(
        run,
        "metrics.json",
        _metrics(outcome),
        kind=ArtifactKind.METRICS,
        description="Every evaluation, base and tuned",
    )
    manifest = run.manifest(**_facts(outcome, stored_bytes))
    save_json(
        run,
        "manifest.json",
        manifest,
        kind=ArtifactKind.MANIFEST,
        description="Request, settings, data, base model, versions and metrics",
    )


def _save_weights(run: Run, outcome: Outcome) -> int:
    """Stores the folder that transformers or peft loads; returns the bytes of its weights."""
    config = outcome.config
    name, kind = (
        ("model", ArtifactKind.MODEL) if config.method == "full" else ("adapter", ArtifactKind.ADAPTER)
    )
    folder = run.work_dir / name
    folder.mkdir()
    if config.method == "full":
        # Training is over: the weights in fp32 are not needed any more.
        model = cast(PreTrainedModel, outcome.learner.model.to(outcome.dtype))
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        model.save_pretrained(str(folder), max_shard_size=_SHARD_SIZE)
    else:
        save_adapter(
            cast(PeftModel, outcome.learner.model), folder, base=outcome.base.identity, dtype=outcome.dtype
        )
    if outcome.data.template.name != "tokenizer":
        outcome.tokenizer.chat_template = outcome.data.template.portable_source
    save_tokenizer(outcome.tokenizer, folder)
    (folder / "README.md").write_text(model_card(_card_facts(run, outcome)), encoding="utf-8")
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        inner = path.relative_to(folder).as_posix()
        run.save_artifact(
            path,
            name=f"{name}/{inner}",
            kind=kind,
            media_type=media_type(path),
            description=_description(inner),
        )
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    if config.method != "full" and size > _LARGE_ADAPTER_BYTES:
        run.warn(
            "large_adapter",
            f"The adapter has {size / 1e6:.0f} MB: a smaller lora_r or fewer target_modules make it small.",
        )
    return size


def _description(name: str) -> str:
    if name == ADAPTER_WEIGHTS:
        return "The adapter's weights, as peft loads them"
    if name.endswith(".safetensors"):
        return "Weights, as transformers loads them"
    return "What it is, what it reaches, and how to load it" if name == "README.md" else ""


def _metrics(outcome: Outcome) -> dict[str, Any]:
    counters = outcome.learner.counters
    return {
        "best_step": counters.best_step,
        "metrics": dict(outcome.metrics),
        "base": dict(outcome.base_metrics),
        "history": [{"step": step, **values} for step, values in counters.evaluations],
    }


def _card_facts(run: Run, outcome: Outcome) -> CardFacts:
    counters, data = outcome.learner.counters, outcome.data
    dataset = run.manifest()["dataset"] or {}
    return CardFacts(
        config=outcome.config,
        base=outcome.base.identity,
        template=data.template.name,
        precision=outcome.learner.precision,
        dataset=dataset.get("name") or dataset.get("sha256") or "",
        train_samples=len(data.train),
        train_tokens=data.train.tokens,
        validation_samples=len(data.validation),
        steps=counters.step,
        best_step=counters.best_step,
        metrics=outcome.metrics,
        base_metrics=outcome.base_metrics,
    )


def _facts(outcome: Outcome, stored_bytes: int) -> dict[str, Any]:
    """The manifest's, beside those of the request."""
    config, data, counters = outcome.config, outcome.data, outcome.learner.counters
    weights = "model_bytes" if config.method == "full" else "adapter_bytes"
    return {
        "config": asdict(config),
        "method": config.method,
        "base": asdict(outcome.base.identity),
        "template": data.template.name,
        "precision": outcome.learner.precision,
        "compute_dtype_of_4bit_weights": _dtype_of_products(outcome),
        "stored_dtype": outcome.base.dtype,
        "threads": torch.get_num_threads(),
        "train_samples": len(data.train),
        "train_tokens": data.train.tokens,
        "validation_samples": len(data.validation),
        "held_out": data.held_out,
        weights: stored_bytes,
        "steps": counters.step,
        "best_step": counters.best_step,
        "early_stopped": outcome.early_stopped,
        "metrics": dict(outcome.metrics),
        "base_metrics": dict(outcome.base_metrics),
    }


def _dtype_of_products(outcome: Outcome) -> str | None:
    """Of those with a base's 4-bit weights, which the device decides where the request does not."""
    bits = outcome.config.quantization
    if bits is None or bits.bits != 4:
        return None
    config: Any = outcome.learner.model.config
    return str(config.quantization_config.bnb_4bit_compute_dtype).removeprefix("torch.")
