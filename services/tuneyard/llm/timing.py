"""Predicts how long a fine-tuning takes: a formula, corrected by what earlier runs took on the same machine.

    training      tokens x N x (2 forward + 2 backward, and 2 more where all weights are trained; 2 more again
                  with gradient checkpointing) / F, times 1 + Q / tokens at once where the base is quantised
    evaluation    a forward pass over the validation samples, for each evaluation

N are the weights that multiply: linear layers and the head. Each pass over a quantised base turns its weights
into bf16 first, which takes as long as Q tokens do, however many follow. F was fitted to runs on a reference
processor with two threads (tests/benchmarks/llm_estimate.py). Of other machines, and of accelerators, only
the ratio of measured to predicted time is kept (`trainer.speeds`), which each finished run brings up to
date; before there is one, nothing is predicted for an accelerator. Imports no torch.
"""

from collections.abc import Mapping

from tuneyard.llm.memory import Workload
from tuneyard.llm.plan import Plan
from tuneyard.v1 import training_pb2

_START_SECONDS = 4.0
"""Loading, tokenizing a little, storing the result."""
OPERATIONS = {True: 1.2e11, False: 0.8e11}
"""Floating-point operations per second of the reference processor, by whether the arithmetic is bf16."""
_FORWARD = 2
"""A multiplication and an addition."""
_QUANTIZED_TOKENS = {None: 0, 4: 30, 8: 75}
"""Q, by bits. One thread of an AMD EPYC with AVX512-BF16, Llamas of width 512 and 1024: at 256 tokens a step
took 1.13 to 1.15 (4 bits) and 1.27 to 1.41 times as long (8 bits), at 1024 tokens 1.00 to 1.03 and 1.05."""


def seconds(plan: Plan, learned: Mapping[str, float]) -> float | None:
    """Wall time of the whole job; None while its steps are unknown, or the device's speed is."""
    if not plan.total_steps:
        return None
    ratio = learned.get(speed_key(plan))
    if ratio is None and not plan.on_cpu:
        return None
    return (ratio or 1.0) * reference_seconds(plan)


def reference_seconds(plan: Plan, *, steps: int | None = None) -> float:
    """Wall time on the reference processor, of all steps or of so many."""
    steps = plan.total_steps if steps is None else steps
    hyper, data, effective = plan.resolved.hyperparameters, plan.data, plan.effective_batch_size
    mean_tokens = data.mean_tokens if data else plan.workload.row_tokens
    trained = steps * effective
    per_epoch = data.train_samples if data else trained
    every = hyper.eval_steps * effective if hyper.HasField("eval_steps") else per_epoch
    evaluations = max(1.0, trained / max(1, every))
    validated = evaluations * (data.validation_samples if data else 0)
    seconds = trained * _token_seconds(plan.workload, passes(plan.workload))
    seconds += validated * _token_seconds(plan.workload, _FORWARD)
    return _START_SECONDS + mean_tokens * seconds


def step_seconds(plan: Plan) -> float:
    """One optimizer step on the reference processor."""
    data, work = plan.data, plan.workload
    tokens = data.mean_tokens if data else work.row_tokens
    return plan.effective_batch_size * tokens * _token_seconds(work, passes(work))


def _token_seconds(work: Workload, operations: int) -> float:
    return operations * multiplied(work) / speed(work)


def passes(work: Workload) -> int:
    """Operations of one token and one weight in a training step."""
    backward = 2 if work.adapters else 4
    return _FORWARD + backward + (_FORWARD if work.checkpointing else 0)


def multiplied(work: Workload) -> int:
    """Weights that each token is multiplied with."""
    return work.facts.linear_parameters + work.facts.vocab_size * work.facts.hidden_size


def speed(work: Workload) -> float:
    """Operations per second on the reference processor."""
    return OPERATIONS[work.half_precision] / (1 + _QUANTIZED_TOKENS[work.bits] / work.tokens)


def speed_key(plan: Plan) -> str:
    """What a remembered ratio holds for: the kind of device, its threads, the method, the precision.

    The accelerators of one trainer are taken to be alike.
    """
    spec = plan.resolved
    where = f"cpu-{spec.resources.cpu_threads}" if plan.on_cpu else "accelerator"
    method = training_pb2.FineTuningMethod.Name(spec.language_model.method).rpartition("_")[2].lower()
    return f"{where}/language_model/{method}/{spec.hyperparameters.precision}"
