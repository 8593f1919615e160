"""The settings that are used where the caller sets none. Imports no torch; judges nothing (see `checks`)."""

from dataclasses import dataclass

from google.protobuf.message import Message

from tuneyard.llm.model_facts import ModelFacts
from tuneyard.llm.targets import default_targets, requested_targets
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

    @property
    def gradient_accumulation_steps(self) -> int:
        """So that every preset has the same effective batch."""
        return EFFECTIVE_BATCH // self.batch_size


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
    _fill_hyperparameters(resolved, preset)
    _fill(resolved, seed=0)
    _fill(resolved.resources, device_count=1)
    _fill(resolved.checkpoints, keep_last=2, keep_best=True)
    _fill(resolved.early_stopping, patience=0, min_delta=0.0)
    resolved.early_stopping.metric = resolved.early_stopping.metric or MAIN_METRIC
    _fill(resolved.data_split, validation_fraction=0.15)
    longest = facts.max_positions if facts and facts.max_positions else DEFAULT_MAX_LENGTH
    _fill(
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
    if not (hyper.HasField("epochs") or hyper.HasField("max_steps")):
        hyper.epochs = 3
    if not (hyper.HasField("warmup_steps") or hyper.HasField("warmup_ratio")):
        hyper.warmup_ratio = DEFAULT_WARMUP_RATIO
    hyper.schedule = hyper.schedule or training_pb2.LEARNING_RATE_SCHEDULE_COSINE
    hyper.precision = hyper.precision or training_pb2.PRECISION_AUTO
    hyper.optimizer = hyper.optimizer or training_pb2.OPTIMIZER_ADAMW
    _fill_batch(hyper, preset)
    _fill(
        hyper,
        learning_rate=preset.full_learning_rate if full else preset.learning_rate,
        weight_decay=0.01 if full else 0.0,
        max_grad_norm=1.0,
    )
    if hyper.optimizer == training_pb2.OPTIMIZER_SGD:
        _fill(hyper, momentum=0.9)


def _fill_batch(hyper: training_pb2.Hyperparameters, preset: Preset) -> None:
    """Where one of the two is given, the other keeps the effective batch near to the presets'."""
    if hyper.HasField("batch_size"):
        _fill(hyper, gradient_accumulation_steps=max(1, round(EFFECTIVE_BATCH / hyper.batch_size)))
    elif hyper.HasField("gradient_accumulation_steps"):
        wanted = round(EFFECTIVE_BATCH / hyper.gradient_accumulation_steps)
        hyper.batch_size = min(preset.batch_size, max(1, wanted))
    else:
        hyper.batch_size = preset.batch_size
        hyper.gradient_accumulation_steps = preset.gradient_accumulation_steps


def _fill_lora(lora: training_pb2.LoraConfig, preset: Preset, facts: ModelFacts | None) -> None:
    lora.SetInParent()
    _fill(lora, lora_r=preset.lora_r, lora_dropout=0.05)
    _fill(lora, lora_alpha=2 * lora.lora_r)
    leaves = {linear.name for linear in facts.linears} if facts else set()
    names = requested_targets(lora.target_modules) or default_targets(leaves)
    del lora.target_modules[:]
    lora.target_modules.extend(names)


def _fill_quantization(bits: training_pb2.Quantization) -> None:
    bits.SetInParent()
    _fill(bits, use_8bit=False)
    _fill(bits, use_4bit=not bits.use_8bit)
    if bits.use_4bit:
        _fill(bits, use_nested_quant=False)
        bits.bnb_4bit_quant_type = bits.bnb_4bit_quant_type or training_pb2.QUANT_TYPE_NF4


def _fill(message: Message, **values: object) -> None:
    """Sets those optional fields that are not set."""
    for name, value in values.items():
        if not message.HasField(name):
            setattr(message, name, value)
