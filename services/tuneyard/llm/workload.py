"""From resolved settings to the work whose memory is predicted, and to the devices that a model wants."""

from dataclasses import replace

from tuneyard.llm.memory import Workload, adapters_of
from tuneyard.llm.model_facts import ModelFacts
from tuneyard.llm.recommended import DEFAULT_MAX_LENGTH, preset_for
from tuneyard.trainer.workloads import GIB, device_size, is_half, optimizer_kind
from tuneyard.v1 import training_pb2

GUIDE_MEMORY = {"lora": (16 * GIB, 24 * GIB), "qlora": (8 * GIB, 12 * GIB)}
"""The guide's cards for 7B models: the smallest sensible one and the recommended one."""


def workload(resolved: training_pb2.TrainingSpec, facts: ModelFacts, *, on_cpu: bool) -> Workload:
    """What resolved settings train, in the arithmetic that the kind of device gets."""
    task, hyper = resolved.language_model, resolved.hyperparameters
    adapters = None
    if task.method != training_pb2.FINE_TUNING_METHOD_FULL:
        adapters = adapters_of(
            facts,
            rank=task.lora.lora_r,
            targets=tuple(task.lora.target_modules),
            dropout=task.lora.lora_dropout > 0,
            dora=task.lora.use_dora,
        )
    quantized = task.method == training_pb2.FINE_TUNING_METHOD_QLORA
    return Workload(
        facts=facts,
        adapters=adapters,
        bits=(8 if task.quantization.use_8bit else 4) if quantized else None,
        nested=task.quantization.use_nested_quant,
        half_precision=is_half(hyper.precision, on_cpu=on_cpu),
        optimizer=optimizer_kind(hyper.optimizer),
        batch_size=hyper.batch_size,
        accumulates=hyper.gradient_accumulation_steps > 1,
        row_tokens=task.max_length,
        packed=task.packing,
        checkpointing=task.gradient_checkpointing,
    )


def sensible_devices(facts: ModelFacts) -> tuple[int, int]:
    """Memory of the smallest sensible accelerator for LoRA, and of the recommended one, in whole GiB.

    The smallest computes a sample at a time with gradient checkpointing; the recommended one the preset's
    batch with it, and one sample without it. Of 7B models at least the guide's figures.
    """
    preset = preset_for(facts)
    one = Workload(
        facts=facts,
        adapters=adapters_of(facts, rank=preset.lora_r),
        batch_size=1,
        row_tokens=min(DEFAULT_MAX_LENGTH, facts.max_positions or DEFAULT_MAX_LENGTH),
        checkpointing=True,
    )
    whole = [replace(one, batch_size=preset.batch_size)]
    if not preset.gradient_checkpointing:
        whole.append(replace(one, checkpointing=False))
    guide = GUIDE_MEMORY["lora"] if 5e9 <= facts.parameters < 10e9 else (0, 0)
    needs = (one.device_bytes(), max(work.device_bytes() for work in whole))
    minimum, recommended = (max(least, device_size(need)) for least, need in zip(guide, needs, strict=True))
    return minimum, recommended
