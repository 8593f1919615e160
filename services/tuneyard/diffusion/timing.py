"""Predicts how long a training takes: a formula, corrected by what earlier runs took on the same machine.

    preparation   the VAE and the text encoders, once for each image, where latents are cached
    training      images x the denoiser's operations x (1 forward + 1 backward, 1 more with checkpointing) / F
    evaluation    forward passes at a few fixed times over the validation images, and sample pictures
    calls         what a pass over a micro-batch takes whatever its size

The backward pass through frozen weights costs about one forward pass. In bf16, F is what steps of a network
of Stable Diffusion 1.5's size took at 256 and 512 px on a reference processor with two threads; in fp32 it
is a guess from the speed of products. Of small networks the calls are most of the time. Of other machines,
and of accelerators, only the ratio of measured to predicted time is kept (`trainer.speeds`), which each
finished run brings up to date; without one nothing is predicted for an accelerator. Imports no torch.
"""

from collections.abc import Mapping

from tuneyard.diffusion.memory import Workload
from tuneyard.diffusion.plan import Plan

_START_SECONDS = 5.0
"""Loading, and storing the result."""
OPERATIONS = {True: 4.0e11, False: 1.2e11}
"""Floating-point operations per second of the reference processor, by whether the arithmetic is bf16."""
_PASSES = {False: 2, True: 3}
"""Forward passes' worth of a training step, by whether activations are computed again."""
_CALLS_SECONDS = 0.02
"""Of a training's pass: some hundred modules, their adapters, and the optimizer's share."""
_EVALUATED_TIMES = 4
_ENCODING_PASSES = 1.5
"""Of the VAE and the text encoders for one image, in forward passes of Stable Diffusion's UNet."""
_LOOK_PASSES = 4 * 8 * 2 * 2
"""Prompts, denoising steps, both sides of guidance, base and tuned."""


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
    trained = steps * effective
    per_epoch = plan.samples_per_epoch or trained
    every = hyper.eval_steps * effective if hyper.HasField("eval_steps") else per_epoch
    evaluations = 1 + max(1.0, trained / max(1, every))
    validated = evaluations * _EVALUATED_TIMES * (data.validation_samples if data else 0)
    encoded = (data.images if data else per_epoch) if plan.workload.cached else trained
    worked = trained * _PASSES[plan.workload.checkpointing] + validated + _ENCODING_PASSES * encoded
    computing = (worked + evaluations * _LOOK_PASSES) * forward_seconds(plan.workload)
    return _START_SECONDS + computing + worked / hyper.batch_size * _CALLS_SECONDS


def step_seconds(work: Workload) -> float:
    """A training step's part of one image on the reference processor."""
    return _PASSES[work.checkpointing] * forward_seconds(work)


def forward_seconds(work: Workload) -> float:
    """The denoiser's forward pass over one image on the reference processor."""
    facts = work.facts
    operations = facts.position_operations * facts.positions(work.resolution)
    return operations / OPERATIONS[work.half_precision]


def speed_key(plan: Plan) -> str:
    """What a remembered ratio holds for: the kind of device, its threads, the kind of model, the precision.

    The accelerators of one trainer are taken to be alike.
    """
    spec = plan.resolved
    where = f"cpu-{spec.resources.cpu_threads}" if plan.on_cpu else "accelerator"
    return f"{where}/text_to_image_lora/{plan.model.kind}/{spec.hyperparameters.precision}"
