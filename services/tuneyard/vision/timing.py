"""Predicts how long a training takes: a formula, corrected by what earlier runs took on the same machine.

    forward and backward   B x (6 M / F + A / W)     for each micro-batch of B samples
    evaluation             a third of that for each validation sample
    preparation            decoding each image once

M are multiply-adds and A activation bytes of one sample. F and W were fitted to runs on a reference processor
with two threads (see tests/benchmarks/estimate.py). Of other machines, and of accelerators, only the ratio of
measured to predicted time is kept (`trainer.speeds`), which each finished run brings up to date; before there
is one, nothing is predicted for an accelerator. Imports no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tuneyard.v1 import system_pb2, training_pb2
from tuneyard.vision.memory import Workload
from tuneyard.vision.plan import Plan

_REFERENCE_THREADS = 2
_START_SECONDS = 2.0
"""Starting, building the network, storing the result."""
_DECODE_SECONDS = 0.004
"""Of one image and one thread; a photograph of half a megapixel."""
_EVALUATED_SHARE = 1 / 3


@dataclass(frozen=True)
class Rates:
    """Of the reference processor."""

    operations: float
    """Floating-point operations per second."""
    activation_bytes: float
    """Bytes of activations per second."""


RATES = {False: Rates(1.0e11, 2.0e9), True: Rates(3.0e11, 2.5e9)}
"""By whether 16-bit autocast is used."""


def seconds(
    plan: Plan, work: Workload, device: system_pb2.Device, learned: Mapping[str, float]
) -> float | None:
    """Wall time of the whole job; None while its steps are unknown, or the device's speed is."""
    if not plan.total_steps:
        return None
    ratio = learned.get(speed_key(device.id, plan.resolved))
    if ratio is None and device.id != "cpu":
        return None
    return (ratio or 1.0) * reference_seconds(plan, work)


def reference_seconds(plan: Plan, work: Workload, *, steps: int | None = None) -> float:
    """Wall time on the reference processor, of all steps or of so many."""
    hyper = plan.resolved.hyperparameters
    steps = plan.total_steps if steps is None else steps
    trained = steps * plan.effective_batch_size
    per_epoch = plan.facts.train_samples if plan.facts else trained
    every = hyper.eval_steps * plan.effective_batch_size if hyper.HasField("eval_steps") else per_epoch
    evaluations = max(1.0, trained / max(1, every))
    validated = plan.facts.validation_samples if plan.facts else 0
    evaluated = evaluations * validated * _EVALUATED_SHARE
    images = min(trained, per_epoch) + validated
    return _START_SECONDS + images * _DECODE_SECONDS + (trained + evaluated) * sample_seconds(plan, work)


def sample_seconds(plan: Plan, work: Workload) -> float:
    """Forward and backward of one sample on the reference processor."""
    rates = RATES[work.half_precision]
    passes = 3 if work.kept_share > 0.5 else 1.5
    return 2 * passes * plan.multiply_adds / rates.operations + (
        work.activation_bytes * work.kept_share / rates.activation_bytes
    )


def speed_key(device_id: str, spec: training_pb2.TrainingSpec) -> str:
    """What a remembered ratio holds for: the kind of device, its threads, the task, the precision.

    The accelerators of one trainer are taken to be alike.
    """
    where = f"cpu-{spec.resources.cpu_threads}" if device_id == "cpu" else "accelerator"
    return f"{where}/{spec.WhichOneof('task')}/{spec.hyperparameters.precision}"
