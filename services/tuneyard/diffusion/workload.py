"""From resolved settings to the work whose memory is predicted, and to the devices that a pipeline wants."""

from tuneyard.diffusion.clip_files import ClipFacts
from tuneyard.diffusion.memory import (
    ATTENTION,
    TEXT_ATTENTION,
    Workload,
    adapter_parameters,
)
from tuneyard.diffusion.pipeline_facts import PipelineFacts
from tuneyard.diffusion.recommended import recommended_spec
from tuneyard.trainer.workloads import GIB, device_size, is_half, optimizer_kind
from tuneyard.v1 import training_pb2

GUIDE_MEMORY = (8 * GIB, 12 * GIB)
"""The guide's cards for text-to-image LoRA: the smallest sensible one and the recommended one."""


def workload(
    resolved: training_pb2.TrainingSpec, facts: PipelineFacts, *, on_cpu: bool, clip: ClipFacts | None = None
) -> Workload:
    """What resolved settings train, in the arithmetic that the kind of device gets."""
    task, hyper = resolved.text_to_image_lora, resolved.hyperparameters
    rank, targets = task.lora.lora_r, tuple(task.lora.target_modules)
    text = 0
    if task.train_text_encoder:
        text = adapter_parameters(
            facts.text_linears, rank=rank, targets=TEXT_ATTENTION, dora=task.lora.use_dora
        )
    return Workload(
        facts=facts,
        adapters=adapter_parameters(
            facts.linears, rank=rank, targets=targets or ATTENTION, dora=task.lora.use_dora
        ),
        text_adapters=text,
        half_precision=is_half(hyper.precision, on_cpu=on_cpu),
        optimizer=optimizer_kind(hyper.optimizer),
        batch_size=hyper.batch_size,
        resolution=task.resolution,
        checkpointing=task.gradient_checkpointing,
        cached=task.cache_latents and not task.random_crop,
        cached_texts=task.cache_latents and not task.train_text_encoder,
        ema=task.ema_decay > 0,
        clip_parameters=clip.parameters if clip else 0,
    )


def sensible_devices(facts: PipelineFacts) -> tuple[int, int]:
    """Memory of the smallest sensible accelerator and of the recommended one, in whole GiB.

    The smallest computes an image at a time with gradient checkpointing; the recommended one the recommended
    batch as it is recommended. At least the guide's figures.
    """
    resolved = recommended_spec("", facts)
    wanted = workload(resolved, facts, on_cpu=False)
    resolved.hyperparameters.batch_size = 1
    resolved.text_to_image_lora.gradient_checkpointing = True
    needs = (workload(resolved, facts, on_cpu=False).device_bytes(), wanted.device_bytes())
    minimum, recommended = (
        max(least, device_size(need)) for least, need in zip(GUIDE_MEMORY, needs, strict=True)
    )
    return minimum, max(minimum, recommended)
