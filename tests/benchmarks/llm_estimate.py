"""How well memory and time of fine-tunings are predicted on the processor: real steps beside the formula.

`python -m tests.benchmarks.llm_estimate [WORD …]` prints a table of the configurations whose names hold a
word; the bound is 20 % for memory, and for time a factor of 2, on a machine like the reference.
"""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.support.llm_estimate_probe import STEPS, Probed, prepare, probe, request_of
from tuneyard.llm import timing
from tuneyard.llm.plan import plan_for
from tuneyard.v1 import system_pb2, training_pb2

MEMORY_BOUND = 0.2

SMALL: Mapping[str, Any] = {"hidden": 256, "layers": 6, "heads": 4, "intermediate": 704, "vocab": 8192}
"""9 M weights."""
MIDDLE: Mapping[str, Any] = {"hidden": 512, "layers": 8, "heads": 8, "intermediate": 1408, "vocab": 8192}
"""31 M weights."""
LARGE: Mapping[str, Any] = {"hidden": 640, "layers": 10, "heads": 10, "intermediate": 1792, "vocab": 16384}
"""66 M weights."""


@dataclass(frozen=True)
class Configuration:
    """One fine-tuning to be predicted."""

    model: Mapping[str, Any]
    method: str
    max_length: int
    batch_size: int
    precision: str = "bf16"
    checkpointing: bool = False
    architecture: str = "llama"
    targets: str = ""
    optimizer: str = "adamw"
    packing: bool = True
    use_8bit: bool = False

    @property
    def name(self) -> str:
        size = f"{self.architecture} h{self.model['hidden']}"
        words = [size, self.method, f"{self.max_length} x {self.batch_size}", self.precision]
        words += ["checkpointing"] if self.checkpointing else []
        words += [self.targets, "" if self.optimizer == "adamw" else self.optimizer]
        words += [] if self.packing else ["unpacked"]
        words += ["8-bit"] if self.use_8bit else []
        return " ".join(filter(None, words))

    def spec(self) -> training_pb2.TrainingSpec:
        """The fine-tuning."""
        spec = training_pb2.TrainingSpec(dataset="datasets/d", base_model="models/m")
        hyper, task = spec.hyperparameters, spec.language_model
        task.method = training_pb2.FineTuningMethod.Value(f"FINE_TUNING_METHOD_{self.method.upper()}")
        task.max_length, task.packing = self.max_length, self.packing
        task.gradient_checkpointing = self.checkpointing
        if self.use_8bit:
            task.quantization.use_8bit = True
        if self.targets:
            task.lora.target_modules.append(self.targets)
        hyper.batch_size = self.batch_size
        # Two samples share a row: a step is one micro-batch of adapters, and two of whole models.
        hyper.gradient_accumulation_steps = 4 if self.method == "full" else 2
        hyper.max_steps = STEPS
        hyper.precision = training_pb2.Precision.Value(f"PRECISION_{self.precision.upper()}")
        hyper.optimizer = training_pb2.Optimizer.Value(f"OPTIMIZER_{self.optimizer.upper()}")
        spec.resources.cpu_threads = 2
        return spec


CONFIGURATIONS = (
    Configuration(SMALL, "lora", 256, 4),
    Configuration(SMALL, "lora", 1024, 2),
    Configuration(SMALL, "lora", 512, 2, architecture="gpt2"),
    Configuration(SMALL, "full", 512, 2),
    Configuration(MIDDLE, "lora", 512, 2),
    Configuration(MIDDLE, "lora", 512, 2, "fp32"),
    Configuration(MIDDLE, "lora", 512, 2, targets="all-linear"),
    Configuration(MIDDLE, "lora", 1024, 1, checkpointing=True),
    Configuration(MIDDLE, "lora", 1024, 1, packing=False),
    Configuration(MIDDLE, "lora", 512, 2, architecture="gpt_neox"),
    Configuration(MIDDLE, "lora", 512, 2, architecture="gemma"),
    Configuration(MIDDLE, "lora", 512, 2, architecture="gemma2"),
    Configuration(MIDDLE, "lora", 1024, 1, checkpointing=True, architecture="gemma2"),
    Configuration(MIDDLE, "qlora", 512, 1),
    Configuration(MIDDLE, "qlora", 512, 2, checkpointing=True),
    Configuration(MIDDLE, "qlora", 512, 1, use_8bit=True),
    Configuration(MIDDLE, "qlora", 512, 2, checkpointing=True, use_8bit=True),
    Configuration(LARGE, "qlora", 256, 2, use_8bit=True),
    Configuration(MIDDLE, "full", 256, 2),
    Configuration(MIDDLE, "full", 256, 2, "fp32"),
    Configuration(MIDDLE, "full", 256, 2, checkpointing=True),
    Configuration(MIDDLE, "full", 256, 2, optimizer="adamw_8bit"),
    Configuration(LARGE, "lora", 256, 1),
    Configuration(LARGE, "full", 256, 1),
)


@dataclass(frozen=True)
class Compared:
    """A prediction beside what was measured."""

    name: str
    predicted_bytes: int
    predicted_seconds: float
    measured: Probed

    @property
    def memory_error(self) -> float:
        """How far the prediction is off: 0.1 for 10 % too much."""
        return self.predicted_bytes / self.measured.peak_bytes - 1


def compare(configuration: Configuration) -> Compared:
    """Trains the configuration in a process of its own."""
    spec = configuration.spec()
    with tempfile.TemporaryDirectory(prefix="tuneyard-probe-") as scratch:
        model = {"architecture": configuration.architecture, **configuration.model}
        facts = prepare(Path(scratch), spec, model)
        measured = probe(Path(scratch))
    plan = plan_for(request_of(spec, facts), [system_pb2.Device(id="cpu")])
    assert not plan.violations, plan.violations
    return Compared(
        configuration.name, plan.workload.host_bytes(on_cpu=True), timing.step_seconds(plan), measured
    )


def table(results: Sequence[Compared]) -> Table:
    """The results for people."""
    shown = Table("fine-tuning", "base", "predicted", "measured", "off", "step predicted", "step measured")
    for result in results:
        shown.add_row(
            result.name,
            f"{result.measured.base_bytes / 2**20:.0f} MiB",
            f"{result.predicted_bytes / 2**20:.0f} MiB",
            f"{result.measured.peak_bytes / 2**20:.0f} MiB",
            f"{result.memory_error:+.0%}",
            f"{result.predicted_seconds:.2f} s",
            f"{result.measured.step_seconds:.2f} s",
        )
    return shown


def main() -> int:
    words, results = sys.argv[1:], []
    for configuration in CONFIGURATIONS:
        if not words or any(word in configuration.name for word in words):
            results.append(compare(configuration))
            sys.stderr.write(json.dumps(asdict(results[-1])) + "\n")
    Console(width=130).print(table(results))
    return int(any(abs(result.memory_error) > MEMORY_BOUND for result in results))


if __name__ == "__main__":
    sys.exit(main())
