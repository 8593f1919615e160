"""Our side of the language-model benchmark, without the platform around it.

    python -m tests.benchmarks.llm_recipe ARM FOLDER ROOT

ARM: `recipe` is what a job runs; `bare` replays the same rows with the same model, loss and optimizer and
nothing else.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests.benchmarks.llm_case import Case, config_of, run_of
from tests.benchmarks.llm_meter import Meter
from tests.benchmarks.paced_run import Enough, PacedRun
from tests.benchmarks.peers.llm_rows import packed_rows
from tuneyard.llm import finetune
from tuneyard.llm.adapters import add_adapter
from tuneyard.llm.base_model import load_base
from tuneyard.llm.loss import loss_sums
from tuneyard.llm.optimizers import make_optimizer
from tuneyard.llm.rows import Rows
from tuneyard.recipes.trained_weights import load_adapter_state, trained_parameters


@dataclass(kw_only=True)
class MeteredRun(PacedRun):
    """Notes when the model is there, too."""

    @contextmanager
    def stage(self, name: str, detail: str = "") -> Iterator[None]:
        with super().stage(name, detail):
            yield
        if name == "load_model":
            assert isinstance(self.pace, Meter)
            self.pace.loaded()


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
    losses: dict[int, float] = {}
    meter.begin()
    for number, rows in enumerate(steps, start=1):
        trained, total = sum(row.trained_tokens for row in rows), 0.0
        for row in rows:
            loss = loss_sums(model, row, precision=precision, device=device).loss / trained
            torch.autograd.backward(loss)
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(trained_parameters(model), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses[number] = total
        meter.step_done()
    meter.end(losses)


def main(arm: str, folder: Path, root: Path) -> None:
    """Trains in turn with the others."""
    facts = json.loads((folder / "case.json").read_text())
    case = Case(**{name: facts[name] for name in (each.name for each in fields(Case))})
    meter = Meter(steps=case.steps, device=case.device)
    if arm == "recipe":
        run = run_of(case, folder, root, MeteredRun)
        run.pace = meter
        try:
            finetune.train(config_of(case, seed=facts["seed"]), run)
        except Enough:
            meter.end(run.paced_losses)
    else:
        replay(case, facts, folder, meter)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
