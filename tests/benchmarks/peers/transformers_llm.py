"""LoRA with transformers' Trainer, TRL's SFTTrainer or a plain loop on the rows of a case. It knows nothing
of Tuneyard.

    python transformers_llm.py ARM FOLDER OUTPUT

ARM: `padded` is the Trainer at its defaults, batches of 8 padded to the longest sample; `packed` the Trainer
on the packed rows; `trl` the SFTTrainer on the packed rows at its best settings here (one row at a time, no
gradient checkpointing); `trl_autocast` the same with its default bf16; `full_logits` a loop over the packed
rows with the model of transformers and peft and all logits of a row, and nothing else.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TRL_EXPERIMENTAL_SILENCE="1")

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from tests.benchmarks.llm_meter import Meter
from tests.benchmarks.peers.llm_rows import packed_rows, samples

PADDED_BATCH = 8


class Noting(TrainerCallback):
    """Notes the loss of each step when it is logged, which is at its end."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.losses: dict[int, float] = {}

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        if not self.losses:
            self._meter.begin()

    def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
        if logs and "loss" in logs:
            self.losses[len(self.losses) + 1] = float(logs["loss"])
            self._meter.step_done()


def adapted(folder: Path, facts: dict[str, Any]) -> Any:
    """The base with the adapter that everybody begins with."""
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[facts["precision"]]
    base = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=dtype, attn_implementation="sdpa")
    rank = facts["rank"]
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules=["q_proj", "v_proj"],
    )
    model = get_peft_model(base, config)
    state, own = load_file(folder / "adapter.safetensors"), dict(model.named_parameters())
    with torch.no_grad():
        for name, value in state.items():
            own[name].copy_(value)
    return model.to(facts["device"])


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """One row each, with labels as transformers wants them: at the token itself, not before it."""
    rows = []
    for step in packed_rows(folder):
        for row in step:
            labels = [-100, *row["targets"][0, :-1].tolist()]
            ids, positions = row["ids"][0].tolist(), row["positions"][0].tolist()
            rows.append({"input_ids": ids, "position_ids": positions, "labels": labels})
    return rows


def samples_of(folder: Path) -> list[dict[str, Any]]:
    """One sample each."""
    found = []
    for step in samples(folder):
        for sample in step:
            pairs = list(zip(sample["ids"].tolist(), sample["trained"].tolist(), strict=True))
            labels = [token if trained else -100 for token, trained in pairs]
            found.append({"input_ids": [token for token, _ in pairs], "labels": labels})
    return found


def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Rows of one length as tensors, and no attention mask: the positions tell the samples apart."""
    return {name: torch.tensor([row[name] for row in rows]) for name in rows[0]}


def replay(model: Any, folder: Path, facts: dict[str, Any], meter: Meter) -> None:
    """The plain loop."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=facts["learning_rate"], weight_decay=0.0, fused=True)
    steps = [
        [{name: torch.from_numpy(value) for name, value in row.items()} for row in rows]
        for rows in packed_rows(folder)
    ]
    model.train()
    meter.loaded()
    losses: dict[int, float] = {}
    meter.begin()
    for rows, count in zip(steps, facts["trained_tokens"], strict=True):
        total = 0.0
        for row in rows:
            ids, positions, targets = (
                row[name].to(facts["device"]) for name in ("ids", "positions", "targets")
            )
            logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(
                logits.float().flatten(0, 1), targets.flatten(), reduction="sum"
            )
            loss = loss / count
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses[len(losses) + 1] = total
        meter.step_done()
    meter.end(losses)


def main(arm: str, folder: Path, output: Path) -> None:
    """Trains in turn with the others."""
    facts = json.loads((folder / "case.json").read_text())
    torch.set_num_threads(facts["threads"])
    padded = arm == "padded"
    meter = Meter(steps=facts["steps"], device=facts["device"])
    model = adapted(folder, facts)
    if arm == "full_logits":
        replay(model, folder, facts, meter)
        return
    common: dict[str, Any] = {
        "output_dir": str(output),
        "max_steps": facts["steps"],
        "per_device_train_batch_size": PADDED_BATCH if padded else 1,
        "gradient_accumulation_steps": (
            facts["samples_per_step"] // PADDED_BATCH if padded else facts["rows_per_step"]
        ),
        "learning_rate": facts["learning_rate"],
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": facts["device"] == "cpu",
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    made: Any
    if arm.startswith("trl"):
        from trl import SFTConfig, SFTTrainer

        made = type("InOrder", (_InOrder, SFTTrainer), {})(
            model=model,
            args=SFTConfig(
                **common,
                bf16=arm == "trl_autocast",
                gradient_checkpointing=False,
                packing=False,
                max_length=None,
                dataset_kwargs={"skip_prepare_dataset": True},
            ),
            train_dataset=Dataset.from_list(rows_of(folder)),
            data_collator=collate,
            processing_class=tokenizer,
        )
    else:
        made = type("InOrder", (_InOrder, Trainer), {})(
            model=model,
            args=TrainingArguments(**common),
            train_dataset=Dataset.from_list(samples_of(folder) if padded else rows_of(folder)),
            data_collator=DataCollatorForSeq2Seq(tokenizer) if padded else collate,
            processing_class=tokenizer,
        )
    noting = Noting(meter)
    made.add_callback(noting)
    meter.loaded()
    made.train()
    meter.end(noting.losses)


class _InOrder:
    """Everybody takes the rows in the same order."""

    def _get_train_sampler(self, *_: Any) -> Any:
        return torch.utils.data.SequentialSampler(self.train_dataset)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
