"""LoRA with LLaMA-Factory on the samples of a case, packed by itself. It knows nothing of Tuneyard.

    python llamafactory_llm.py FOLDER OUTPUT

It runs what `llamafactory-cli train` runs, in the Python of an environment of its own (docs/benchmarks says
how to make one). Its packs hold other samples than those of the others: losses are not compared.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", DISABLE_VERSION_CHECK="1")

import torch
from llamafactory.train.tuner import run_exp
from transformers import AutoTokenizer, TrainerCallback

from tests.benchmarks.llm_meter import Meter


class Noting(TrainerCallback):
    """Notes the loss of each step when it is logged, which is at its end."""

    def __init__(self, device: str) -> None:
        self._device = device
        self.losses: dict[int, float] = {}
        self.meter: Meter | None = None

    def on_train_begin(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
        self.meter = Meter(steps=state.max_steps, device=self._device)
        self.meter.loaded()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        if self.meter and not self.losses:
            self.meter.begin()

    def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
        if self.meter and logs and "loss" in logs:
            self.losses[len(self.losses) + 1] = float(logs["loss"])
            self.meter.step_done()


def settings(folder: Path, output: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """One epoch over as many samples as the others take, with the settings that make it fastest here."""
    return {
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "model_name_or_path": str(folder / "base"),
        "dataset_dir": str(output),
        "dataset": "case",
        "template": "chatml",
        "cutoff_len": facts["max_length"],
        "max_samples": facts["steps"] * facts["samples_per_step"],
        "packing": True,
        "neat_packing": True,
        "disable_gradient_checkpointing": True,
        "disable_shuffling": True,
        "lora_rank": facts["rank"],
        "lora_alpha": 2 * facts["rank"],
        "lora_dropout": 0.0,
        "lora_target": "q_proj,v_proj",
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": facts["rows_per_step"],
        "num_train_epochs": 1,
        "learning_rate": facts["learning_rate"],
        "lr_scheduler_type": "constant",
        "bf16": facts["precision"] == "bf16",
        "pure_bf16": False,
        "use_cpu": facts["device"] == "cpu",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "output_dir": str(output / "trained"),
        "overwrite_cache": True,
    }


def useful_tokens(folder: Path, facts: dict[str, Any]) -> int:
    """Of the samples that are taken, cut as everybody cuts them."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    lines = (folder / "data" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    total = 0
    for line in lines[: facts["steps"] * facts["samples_per_step"]]:
        example = json.loads(line)
        turns = [
            {"role": "user", "content": example["instruction"]},
            {"role": "assistant", "content": example["response"]},
        ]
        text = tokenizer.apply_chat_template(turns, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        total += min(len(ids), facts["max_length"])
    return total


def main(folder: Path, output: Path) -> None:
    """Trains in turn with the others; each step counts for as many tokens: packs are about equally full."""
    facts = json.loads((folder / "case.json").read_text())
    torch.set_num_threads(facts["threads"])
    output.mkdir(parents=True)
    columns = {"prompt": "instruction", "response": "response"}
    described = {"case": {"file_name": str(folder / "data" / "train.jsonl"), "columns": columns}}
    (output / "dataset_info.json").write_text(json.dumps(described))
    noting = Noting(facts["device"])
    run_exp(settings(folder, output, facts), callbacks=[noting])
    assert noting.meter is not None
    noting.meter.end(noting.losses, tokens_per_step=useful_tokens(folder, facts) / noting.meter.steps)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
