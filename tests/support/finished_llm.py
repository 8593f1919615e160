"""Finished fine-tunings of tiny language models, as their jobs' artifacts, without a training."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from tests.support.tiny_llm import tiny_llama
from tuneyard.llm.adapters import add_adapter, save_adapter
from tuneyard.llm.base_model import load_base, load_tokenizer
from tuneyard.llm.config import LanguageModelConfig, Lora, Quantization
from tuneyard.llm.tokenizer_files import save_tokenizer
from tuneyard.trainer.base_identity import BaseIdentity, files_sha256
from tuneyard.v1 import job_pb2, training_pb2

BASE = "models/tiny"

_METHODS = {
    "full": training_pb2.FINE_TUNING_METHOD_FULL,
    "lora": training_pb2.FINE_TUNING_METHOD_LORA,
    "qlora": training_pb2.FINE_TUNING_METHOD_QLORA,
}


@dataclass(frozen=True)
class FinishedJob:
    """What is left of a job."""

    artifacts: Path
    base: Path
    base_sha256: str
    config: LanguageModelConfig
    spec: job_pb2.JobSpec


def finished_job(
    folder: Path, method: Literal["full", "lora", "qlora"] = "lora", **facts: Any
) -> FinishedJob:
    """The artifacts of a job whose weights were changed at random; `facts` replace those of its manifest."""
    base = tiny_llama(folder / "base", positions=512)
    config = LanguageModelConfig(
        base_model=BASE,
        method=method,
        lora=None if method == "full" else Lora(r=4, alpha=64.0, dropout=0.0),
        quantization=Quantization() if method == "qlora" else None,
        precision="fp32",
        max_length=128,
    )
    identity = BaseIdentity(id=BASE, sha256=files_sha256(base))
    artifacts = folder / "artifacts"
    target = artifacts / ("model" if method == "full" else "adapter")
    target.mkdir(parents=True)
    _save_changed(base, config, identity, target)
    manifest = {
        "method": method,
        "base": {"id": BASE, "revision": "", "sha256": identity.sha256},
        "template": "tokenizer",
        "precision": "fp32",
        **facts,
    }
    (artifacts / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    spec = job_pb2.JobSpec()
    spec.training.base_model = BASE
    spec.training.dataset = "datasets/words"
    task = spec.training.language_model
    task.method = _METHODS[method]
    if config.lora:
        task.lora.lora_r, task.lora.lora_alpha, task.lora.lora_dropout = 4, 64, 0
    return FinishedJob(artifacts, base, identity.sha256, config, spec)


def _save_changed(base: Path, config: LanguageModelConfig, identity: BaseIdentity, target: Path) -> None:
    model: Any = load_base(base, config, device=torch.device("cpu"), precision="fp32")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        if config.method == "full":
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.05 * torch.randn_like(parameter))
            model.save_pretrained(target)
        else:
            model = add_adapter(model, config)
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.requires_grad:
                        parameter.copy_(0.2 * torch.randn_like(parameter))
            save_adapter(model, target, base=identity, dtype=torch.float32)
    save_tokenizer(load_tokenizer(base), target)
