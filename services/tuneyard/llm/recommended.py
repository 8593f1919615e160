"""The settings that are used where the caller sets none. Imports no torch; judges nothing (see `checks`)."""

from dataclasses import dataclass

from tuneyard.llm.model_facts import ModelFacts
from tuneyard.llm.targets import default_targets, requested_targets
from tuneyard.trainer.recommended import fill, fill_batch, fill_shared
from tuneyard.v1 import training_pb2

DEFAULT_MAX_LENGTH = 1024
DEFAULT_WARMUP_RATIO = 0.03
EFFECTIVE_BATCH = 16
"""Samples per optimizer step of every preset."""
MAIN_METRIC = "eval/loss"
METRICS = ("eval/loss", "eval/perplexity", "eval/token_accuracy")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What is recommended for models of a size."""

    parameters_below: float
    lora_r: int
    batch_size: int
    learning_rate: float
    """Of adapters."""
    full_learning_rate: float
    gradient_checkpointing: bool = False


GUIDE_7B = Preset(parameters_below=10e9, lora_r=8, batch_size=4, learning_rate=2e-4, full_learning_rate=1e-5)
PRESETS = (
    Preset(parameters_below=1e9, lora_r=16, batch_size=4, learning_rate=3e-4, full_learning_rate=5e-5),
    Preset(parameters_below=5e9, lora_r=16, batch_size=4, learning_rate=2e-4, full_learning_rate=2e-5),
    GUIDE_7B,
    Preset(parameters_below=20e9, lora_r=16, batch_size=2, learning_rate=1e-4, full_learning_rate=1e-5),
    Preset(
        parameters_below=float("inf"),
        lora_r=16,
        batch_size=1,
        learning_rate=1e-4,
        full_learning_rate=5e-6,
        gradient_checkpointing=True,
    ),
)
"""By size: below 1 B, 1-3 B, 7 B, 13 B, 30 B and more. Those of 7 B and 13 B are the guide's. Smaller models
want larger adapters and rates to move as far; the largest are computed a sample at a time."""


def preset_for(facts: ModelFacts | None) -> Preset:
    """The preset of a model's size; the guide's for 7 B where the size is not known."""
    if facts is None:
        return GUIDE_7B
    return next(preset for preset in PRESETS if facts.parameters < preset.parameters_below)


def resolve(spec: training_pb2.TrainingSpec, facts: ModelFacts | None = None) -> training_pb2.TrainingSpec:
    """A copy with every unset field filled in, but for those of which "unset" means "each epoch", "all", or
    what the device says: the compute dtype. Target modules are filled in where the names of layers are known.

    Idempotent, and a resolved spec resolves to itself without facts. Of two fields that exclude each other, a
    default is only given where neither is set.
    """
    resolved = training_pb2.TrainingSpec()
    resolved.CopyFrom(spec)
    preset, task = preset_for(facts), resolved.language_model
    task.SetInParent()
    task.method = task.method or training_pb2.FINE_TUNING_METHOD_LORA
    fill_shared(resolved, epochs=3, warmup_ratio=DEFAULT_WARMUP_RATIO, metric=MAIN_METRIC)
    _fill_hyperparameters(resolved, preset)
    longest = facts.max_positions if facts and facts.max_positions else DEFAULT_MAX_LENGTH
    fill(
        task,
        max_length=min(DEFAULT_MAX_LENGTH, longest),
        packing=facts.isolates if facts else True,
        neftune_alpha=0.0,
        gradient_checkpointing=preset.gradient_checkpointing,
    )
    task.train_on = task.train_on or training_pb2.TRAIN_ON_ASSISTANT
    if task.method != training_pb2.FINE_TUNING_METHOD_FULL:
        _fill_lora(task.lora, preset, facts)
    if task.method == training_pb2.FINE_TUNING_METHOD_QLORA:
        _fill_quantization(task.quantization)
    return resolved


def recommended_spec(base_model: str, facts: ModelFacts) -> training_pb2.TrainingSpec:
    """The spec of a LoRA as it is where the caller names nothing but the base model."""
    return resolve(training_pb2.TrainingSpec(base_model=base_model), facts)


def _fill_hyperparameters(resolved: training_pb2.TrainingSpec, preset: Preset) -> None:
    hyper = resolved.hyperparameters
    full = resolved.language_model.method == training_pb2.FINE_TUNING_METHOD_FULL
    fill_batch(hyper, batch_size=preset.batch_size, effective=EFFECTIVE_BATCH)
    fill(
        hyper,
        learning_rate=preset.full_learning_rate if full else preset.learning_rate,
        weight_decay=0.01 if full else 0.0,
        max_grad_norm=1.0,
    )


def _fill_lora(lora: training_pb2.LoraConfig, preset: Preset, facts: ModelFacts | None) -> None:
    lora.SetInParent()
    fill(lora, lora_r=preset.lora_r, lora_dropout=0.05)
    fill(lora, lora_alpha=2 * lora.lora_r)
    leaves = {linear.name for linear in facts.linears} if facts else set()
    names = requested_targets(lora.target_modules) or default_targets(leaves)
    del lora.target_modules[:]
    lora.target_modules.extend(names)


def _fill_quantization(bits: training_pb2.Quantization) -> None:
    bits.SetInParent()
    fill(bits, use_8bit=False)
    fill(bits, use_4bit=not bits.use_8bit)
    if bits.use_4bit:
        fill(bits, use_nested_quant=False)
        bits.bnb_4bit_quant_type = bits.bnb_4bit_quant_type or training_pb2.QUANT_TYPE_NF4
