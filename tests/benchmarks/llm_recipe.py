"""Our side of the language-model benchmark, without the platform around it.

    python -m tests.benchmarks.llm_recipe ARM FOLDER ROOT

ARM: `recipe` is what a job runs; `bare` replays the same rows with the same model, loss and optimizer and
nothing else.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests.benchmarks.llm_case import Case, config_of, run_of
from tests.benchmarks.llm_meter import Meter
from tests.benchmarks.peers.llm_rows import packed_rows
from tuneyard.llm import finetune
from tuneyard.llm.adapters import add_adapter
from tuneyard.llm.base_model import load_base
from tuneyard.llm.loss import loss_sums
from tuneyard.llm.optimizers import make_optimizer
from tuneyard.llm.rows import Rows
from tuneyard.recipes.trained_weights import load_adapter_state, trained_parameters
from tuneyard.trainer.fake_run import FakeRun


@dataclass(kw_only=True)
class TimedRun(FakeRun):
    """Notes when steps end and when the model is there."""

    meter: Meter = field(init=False)

    @contextmanager
    def stage(self, name: str, detail: str = "") -> Iterator[None]:
        with super().stage(name, detail):
            yield
        if name == "load_model":
            self.meter.loaded()

    def metrics(self, *, step: int, epoch: float, values: Mapping[str, float]) -> None:
        super().metrics(step=step, epoch=epoch, values=values)
        if "train/loss" in values:
            self.meter.step_done(values["train/loss"])


def replay(case: Case, facts: Mapping[str, Any], folder: Path, meter: Meter) -> None:
    """The bare loop."""
    torch.set_num_threads(case.threads)
    config, device = config_of(case, seed=facts["seed"]), torch.device(case.device)
    precision: Any = case.precision
    base = load_base(folder / "base", config, device=device, precision=precision)
    model: Any = add_adapter(base, config)
    load_adapter_state(model, load_file(folder / "adapter.safetensors"))
    optimizer = make_optimizer(model, config, device)
    steps = [
        [
            Rows(**row, samples=1, tokens=row["ids"].size, trained_tokens=int((row["targets"] >= 0).sum()))
            for row in rows
        ]
        for rows in packed_rows(folder)
    ]
    meter.loaded()
    for rows in steps:
        trained, total = sum(row.trained_tokens for row in rows), 0.0
        for row in rows:
            loss = loss_sums(model, row, precision=precision, device=device).loss / trained
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(trained_parameters(model), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        meter.step_done(total)


def main(arm: str, folder: Path, root: Path) -> None:
    """Trains, and prints what the meter found."""
    facts = json.loads((folder / "case.json").read_text())
    case = Case(**{name: facts[name] for name in (each.name for each in fields(Case))})
    meter = Meter(facts["tokens"], device=case.device)
    if arm == "recipe":
        run = run_of(case, folder, root, TimedRun)
        assert isinstance(run, TimedRun)
        run.meter = meter
        finetune.train(config_of(case, seed=facts["seed"]), run)
    else:
        replay(case, facts, folder, meter)
    meter.tell()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
