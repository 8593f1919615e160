"""One case of the language-model benchmark: a base of random weights, a dataset, and the rows of every step.

    python -m tests.benchmarks.llm_case FOLDER CASE_JSON

The rows are those that the recipe itself packs; whoever is compared gets them ready made, with the adapter's
first weights. What is written once is used again by later runs.
"""

import hashlib
import json
import random
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.learnable_task import jsonl
from tests.support.tiny_llm import docstrings, tiny_llama
from tuneyard.datasets import Report
from tuneyard.llm.adapters import add_adapter
from tuneyard.llm.base_model import load_base, load_tokenizer
from tuneyard.llm.config import LanguageModelConfig, Lora
from tuneyard.llm.data import prepare_data
from tuneyard.llm.rows import Rows, Sample, SampleOrder, pack
from tuneyard.recipes.random_states import seed_everything
from tuneyard.recipes.trained_weights import adapter_state
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.run import DatasetFiles

SHAPES: dict[str, dict[str, int]] = {
    "25m": {"hidden": 256, "layers": 8, "heads": 4, "intermediate": 1024},
    "60m": {"hidden": 512, "layers": 8, "heads": 8, "intermediate": 1408},
    "300m": {"hidden": 1024, "layers": 16, "heads": 16, "intermediate": 3584},
    "7b": {"hidden": 4096, "layers": 32, "heads": 32, "intermediate": 11008},
}
RANK = 8


@dataclass(frozen=True)
class Case:
    """What is trained, and how long."""

    size: str
    max_length: int
    vocab: int = 32_768
    samples_per_step: int = 16
    steps: int = 8
    device: str = "cpu"
    precision: str = "bf16"
    threads: int = 2

    def __str__(self) -> str:
        return f"{self.size}, {self.max_length} tokens, vocabulary {self.vocab // 1024} k"


def config_of(case: Case, *, seed: int) -> LanguageModelConfig:
    """LoRA with a constant rate: one row at a time, all of a step's rows in one update."""
    return LanguageModelConfig(
        base_model="models/benchmark",
        method="lora",
        lora=Lora(r=RANK, alpha=2 * RANK, dropout=0.0),
        epochs=None,
        # One more than are measured: a step is told before its loss.
        max_steps=case.steps + 1,
        batch_size=1,
        gradient_accumulation_steps=case.samples_per_step,
        learning_rate=1e-3,
        schedule="constant",
        warmup_steps=0,
        precision=case.precision,  # type: ignore[arg-type]
        eval_steps=1_000_000,
        save_steps=1_000_000,
        validation_fraction=0.05,
        seed=seed,
        max_length=case.max_length,
        validation_prompts=("Hello",),
    )


def run_of(case: Case, folder: Path, root: Path, kind: type[FakeRun] = FakeRun) -> Any:
    """A run on a written case."""
    content = (folder / "data" / "train.jsonl").read_bytes()
    return kind(
        root=root,
        training_files=DatasetFiles(folder / "data", hashlib.sha256(content).hexdigest(), Report("jsonl")),
        base_model_files=folder / "base",
        device=case.device,
        cpu_threads=case.threads,
    )


def write(folder: Path, case: Case) -> None:
    """Writes everything into an empty folder."""
    base = tiny_llama(folder / "base", vocab=case.vocab, tokenizer_vocab=4096, **_shape(case))
    (folder / "data").mkdir()
    examples, held_out = _examples(case), case.samples_per_step
    # With a validation split of its own, the samples are the same whatever the seed.
    (folder / "data" / "train.jsonl").write_bytes(jsonl(examples[held_out:]))
    (folder / "data" / "val.jsonl").write_bytes(jsonl(examples[:held_out]))
    tokenizer = load_tokenizer(base)
    run = run_of(case, folder, folder / "prepared")
    data = prepare_data(config_of(case, seed=0), run, tokenizer)
    seed, steps = _even_steps(case, data.train, tokenizer.pad_token_id)
    config = config_of(case, seed=seed)
    seed_everything(seed)
    precision: Any = case.precision
    model = add_adapter(load_base(base, config, device=_cpu(), precision=precision), config)
    _save(folder, steps, adapter_state(model))
    order = SampleOrder(len(data.train), samples_per_step=case.samples_per_step, seed=seed)
    _save_samples(folder, [[data.train[i] for i in order.positions(n + 1)] for n in range(case.steps)])
    tokens = [sum(row.tokens for row in rows) for rows in steps]
    trained = [sum(row.trained_tokens for row in rows) for rows in steps]
    facts = {
        **asdict(case),
        "seed": seed,
        "tokens": tokens,
        "trained_tokens": trained,
        "rows_per_step": len(steps[0]),
        "pad_token": tokenizer.pad_token_id,
        "rank": RANK,
        "learning_rate": config.learning_rate,
    }
    (folder / "case.json").write_text(json.dumps(facts))


def _cpu() -> Any:
    import torch

    return torch.device("cpu")


def _shape(case: Case) -> dict[str, Any]:
    import torch

    return {**SHAPES[case.size], "positions": max(2048, case.max_length), "dtype": torch.bfloat16}


def _examples(case: Case) -> list[dict[str, str]]:
    """Answers of very different lengths, as in real data: the median is about a sixth of the longest."""
    draw, texts = random.Random(0), docstrings()
    examples = []
    for number in range(case.samples_per_step * case.steps * 2):
        wanted = min(draw.lognormvariate(0, 1.1) * case.max_length / 7, case.max_length * 0.95)
        text = ""
        while len(text) < 3.2 * wanted:
            text += draw.choice(texts) + "\n"
        examples.append({"instruction": f"Write text {number}.", "response": text[: int(3.2 * wanted) + 8]})
    return examples


def _even_steps(case: Case, samples: Any, pad_token: int) -> tuple[int, list[list[Rows]]]:
    """A seed with which every step has as many rows: other programs accumulate a fixed number of them."""
    for seed in range(2000):
        order = SampleOrder(len(samples), samples_per_step=case.samples_per_step, seed=seed)
        steps: list[list[Rows]] = []
        for number in range(case.steps):
            chosen: list[Sample] = [samples[position] for position in order.positions(number + 1)]
            rows = pack(chosen, max_length=case.max_length, packing=True, pad_token=pad_token)
            if steps and len(rows) != len(steps[0]):
                break
            steps.append(rows)
        if len(steps) == case.steps:
            return seed, steps
    raise RuntimeError("no order has as many rows in each step")


def _save(folder: Path, steps: list[list[Rows]], adapter: Any) -> None:
    from safetensors.torch import save_file

    save_file(
        {name: value.contiguous().clone() for name, value in adapter.items()}, folder / "adapter.safetensors"
    )
    arrays = {
        f"{step}-{number}-{field}": getattr(row, field)
        for step, rows in enumerate(steps)
        for number, row in enumerate(rows)
        for field in ("ids", "positions", "targets")
    }
    np.savez(folder / "rows.npz", **arrays)


def _save_samples(folder: Path, steps: list[list[Sample]]) -> None:
    arrays = {
        f"{step}-{number}-{field}": getattr(sample, field)
        for step, samples in enumerate(steps)
        for number, sample in enumerate(samples)
        for field in ("ids", "trained")
    }
    np.savez(folder / "samples.npz", **arrays)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Case(**json.loads(sys.argv[2])))
    sys.stdout.write("{}\n")
