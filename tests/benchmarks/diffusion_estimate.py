"""How well memory and time of text-to-image LoRAs are predicted on the processor: real steps and the formula.

`python -m tests.benchmarks.diffusion_estimate [WORD …]` prints a table of the configurations whose names hold
a word; the bound is 20 % for memory, and for time a factor of 2, on a machine like the reference.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.support.diffusion_estimate_probe import STEPS, Probed, prepare, probe, request_of
from tuneyard.diffusion import timing
from tuneyard.diffusion.plan import plan_for
from tuneyard.v1 import system_pb2, training_pb2

MEMORY_BOUND = 0.2


@dataclass(frozen=True)
class Configuration:
    """One training to be predicted."""

    family: str
    width: int
    """Of the first block; the second has twice as many channels."""
    resolution: int
    batch_size: int
    precision: str = "bf16"
    checkpointing: bool = False
    text_encoder: bool = False

    @property
    def name(self) -> str:
        words = [self.family, f"w{self.width}", f"{self.resolution} px x {self.batch_size}", self.precision]
        words += ["checkpointing"] if self.checkpointing else []
        words += ["text encoder"] if self.text_encoder else []
        return " ".join(words)

    def spec(self) -> training_pb2.TrainingSpec:
        """The training."""
        spec = training_pb2.TrainingSpec(dataset="datasets/d", base_model="models/m")
        hyper, task = spec.hyperparameters, spec.text_to_image_lora
        task.resolution = self.resolution
        task.gradient_checkpointing = self.checkpointing
        task.train_text_encoder = self.text_encoder
        task.validation_prompts.append("a picture")
        hyper.batch_size, hyper.gradient_accumulation_steps = self.batch_size, 1
        # Nothing but a step is to come between two reports.
        hyper.max_steps = hyper.eval_steps = task.sample_steps = STEPS
        hyper.precision = training_pb2.Precision.Value(f"PRECISION_{self.precision.upper()}")
        spec.resources.cpu_threads = 2
        return spec


CONFIGURATIONS = (
    Configuration("sd", 64, 256, 2),
    Configuration("sd", 64, 512, 2),
    Configuration("sd", 64, 256, 4, "fp32"),
    Configuration("sd", 64, 512, 2, checkpointing=True),
    Configuration("sd", 192, 256, 2),
    Configuration("sdxl", 64, 256, 4),
    Configuration("sdxl", 64, 256, 4, "fp32", checkpointing=True),
    Configuration("sd3", 256, 256, 4),
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
        facts = prepare(Path(scratch), spec, family=configuration.family, width=configuration.width)
        measured = probe(Path(scratch))
    plan = plan_for(request_of(spec, facts), [system_pb2.Device(id="cpu")])
    assert not plan.violations, plan.violations
    seconds = plan.effective_batch_size * timing.step_seconds(plan.workload)
    return Compared(configuration.name, plan.workload.host_bytes(on_cpu=True), seconds, measured)


def table(results: Sequence[Compared]) -> Table:
    """The results for people."""
    shown = Table("training", "base", "predicted", "measured", "off", "step predicted", "step measured")
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
    raise SystemExit(main())
