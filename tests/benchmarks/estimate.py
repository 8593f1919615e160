"""How well memory and time are predicted on the processor: real trainings of a few steps beside the formula.

`python -m tests.benchmarks.estimate [WORD …]` prints a table of the configurations whose names hold a word,
or of those that are "fitted" or "held-out". The bounds are 25 % for memory, and for time a factor of 2, on a
machine like the reference.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.support.estimate_probe import Probed, predicted, predicted_step_seconds, probe
from tuneyard.v1 import training_pb2

MEMORY_BOUND = 0.25


@dataclass(frozen=True)
class Configuration:
    """One training to be predicted."""

    architecture: str
    image_size: int
    batch_size: int
    precision: str = "fp32"
    settings: Mapping[str, Any] | None = None
    """More of the task's own settings."""
    optimizer: str = "adamw"

    @property
    def name(self) -> str:
        extra = "".join(f" {name}" for name in (self.settings or {}))
        sgd = " sgd" if self.optimizer == "sgd" else ""
        return f"{self.architecture} {self.image_size} px x {self.batch_size} {self.precision}{sgd}{extra}"

    def spec(self) -> training_pb2.TrainingSpec:
        """The training, from random weights."""
        spec = training_pb2.TrainingSpec(dataset="datasets/d", base_model=self.architecture)
        is_detector = self.architecture.startswith("yolo")
        task = spec.object_detector if is_detector else spec.image_classifier
        task.pretrained, task.image_size = False, self.image_size
        for name, value in (self.settings or {}).items():
            setattr(task, name, value)
        spec.hyperparameters.batch_size = self.batch_size
        spec.hyperparameters.precision = training_pb2.Precision.Value(f"PRECISION_{self.precision.upper()}")
        spec.hyperparameters.optimizer = training_pb2.Optimizer.Value(f"OPTIMIZER_{self.optimizer.upper()}")
        spec.resources.cpu_threads = 2
        return spec


FITTED = (
    Configuration("resnet18", 224, 16),
    Configuration("resnet18", 224, 16, "bf16"),
    Configuration("resnet50", 224, 8),
    Configuration("resnet50", 224, 16, "bf16"),
    Configuration("resnet50", 224, 8, "fp32", {"ema_decay": 0.99}, "sgd"),
    Configuration("resnet50", 224, 16, "fp32", {"gradient_checkpointing": True}),
    Configuration("resnet50", 224, 16, "fp32", {"freeze_backbone": True}),
    Configuration("mobilenet_v3_small", 224, 32),
    Configuration("efficientnet_b0", 224, 8),
    Configuration("efficientnet_b0", 224, 8, "bf16"),
    Configuration("vit_b_16", 224, 4),
    Configuration("convnext_tiny", 224, 8),
    Configuration("densenet121", 160, 8),
    Configuration("yolov8n", 320, 8),
    Configuration("yolov8n", 640, 4),
    Configuration("yolov8n", 640, 4, "bf16"),
    Configuration("yolov8s", 320, 8),
    Configuration("yolov8s", 320, 8, "bf16"),
    Configuration("yolo11n", 320, 16),
    Configuration("yolov8m", 320, 4),
)
"""The formula's factors were fitted to these."""

HELD_OUT = (
    Configuration("regnet_y_800mf", 224, 16),
    Configuration("swin_t", 224, 4),
    Configuration("resnext50_32x4d", 192, 8, "bf16"),
    Configuration("mobilenet_v2", 160, 32),
    Configuration("vgg11_bn", 128, 8),
    Configuration("efficientnet_v2_s", 160, 8, "fp32", {"ema_decay": 0.99}),
    Configuration("yolov9t", 320, 8),
    Configuration("yolov10n", 416, 4),
    Configuration("yolo12n", 320, 8),
    Configuration("yolo26n", 320, 8, "bf16"),
    Configuration("yolo11s", 256, 8, "fp32", {"freeze_layers": 10}, "sgd"),
)
"""Other architectures, sizes and settings: nothing was fitted to these."""

CONFIGURATIONS = FITTED + HELD_OUT


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
    return Compared(configuration.name, predicted(spec), predicted_step_seconds(spec), probe(spec))


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
    kinds = {"fitted": FITTED, "held-out": HELD_OUT}
    wanted = [each for kind in words if kind in kinds for each in kinds[kind]]
    for configuration in CONFIGURATIONS:
        if not words or configuration in wanted or any(word in configuration.name for word in words):
            results.append(compare(configuration))
            sys.stderr.write(json.dumps(asdict(results[-1])) + "\n")
    Console(width=130).print(table(results))
    return int(any(abs(result.memory_error) > MEMORY_BOUND for result in results))


if __name__ == "__main__":
    sys.exit(main())
