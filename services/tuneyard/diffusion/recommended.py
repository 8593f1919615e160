"""The settings that are used where the caller sets none. Imports no torch; judges nothing (see `checks`)."""

from dataclasses import dataclass

from google.protobuf.message import Message

from tuneyard.diffusion.pipeline_facts import PipelineFacts
from tuneyard.v1 import training_pb2

DEFAULT_WARMUP_RATIO = 0.05
EFFECTIVE_BATCH = 4
"""Images per optimizer step of every preset: small datasets take few steps an epoch."""
MAIN_METRIC = "eval/loss"
METRICS = ("eval/loss",)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What is recommended for a kind of pipeline."""

    resolution: int
    """The side, in px, that the published weights were trained at."""
    learning_rate: float
    batch_size: int = 1
    gradient_checkpointing: bool = False


SD = Preset(resolution=512, learning_rate=1e-4, batch_size=2)
PRESETS = {
    "sd": SD,
    "sdxl": Preset(resolution=1024, learning_rate=1e-4, gradient_checkpointing=True),
    "sd3": Preset(resolution=1024, learning_rate=1e-4, gradient_checkpointing=True),
}
"""By kind. 1e-4 is what kohya's and diffusers' recipes begin with; at 1024 px activations are most of what is
needed, and gradient checkpointing is what brings SDXL onto the cards that people have."""
_RANK = 16
_SMALLEST_RESOLUTION = 64


def preset_for(facts: PipelineFacts | None) -> Preset:
    """The preset of a pipeline's kind; Stable Diffusion's where the kind is not known."""
    return PRESETS.get(facts.kind, SD) if facts else SD


def resolve(spec: training_pb2.TrainingSpec, facts: PipelineFacts | None = None) -> training_pb2.TrainingSpec:
    """A copy with every unset field filled in, but for those of which "unset" means "each epoch", "all",
    "measured", or "as the base": target modules and the kind of prediction among them.

    Idempotent, and a resolved spec resolves to itself without facts. Of two fields that exclude each other, a
    default is only given where neither is set.
    """
    resolved = training_pb2.TrainingSpec()
    resolved.CopyFrom(spec)
    preset, task = preset_for(facts), resolved.text_to_image_lora
    task.SetInParent()
    _fill_hyperparameters(resolved.hyperparameters, preset)
    _fill(resolved, seed=0)
    _fill(resolved.resources, device_count=1)
    _fill(resolved.checkpoints, keep_last=2, keep_best=True)
    _fill(resolved.early_stopping, patience=0, min_delta=0.0)
    resolved.early_stopping.metric = resolved.early_stopping.metric or MAIN_METRIC
    _fill(resolved.data_split, validation_fraction=0.15)
    _fill_task(task, preset, facts)
    return resolved


def recommended_spec(base_model: str, facts: PipelineFacts) -> training_pb2.TrainingSpec:
    """The spec as it is where the caller names nothing but the base model."""
    return resolve(training_pb2.TrainingSpec(base_model=base_model), facts)


def _fill_task(task: training_pb2.TextToImageLora, preset: Preset, facts: PipelineFacts | None) -> None:
    native = facts.resolution if facts and facts.resolution else preset.resolution
    _fill(
        task,
        resolution=max(native, _SMALLEST_RESOLUTION),
        train_text_encoder=False,
        # A class prompt is of no other use.
        prior_loss_weight=1.0 if task.class_prompt else 0.0,
        noise_offset=0.0,
        min_snr_gamma=0.0,
        caption_dropout=0.0,
        horizontal_flip=0.0,
        random_crop=False,
        ema_decay=0.0,
        gradient_checkpointing=preset.gradient_checkpointing,
        cache_latents=True,
    )
    lora = task.lora
    lora.SetInParent()
    _fill(lora, lora_r=_RANK, lora_dropout=0.0)
    _fill(lora, lora_alpha=2 * lora.lora_r)
    names = module_names(list(lora.target_modules))
    del lora.target_modules[:]
    lora.target_modules.extend(names)


def module_names(names: list[str]) -> list[str]:
    """Names of modules, each by itself: users write lists, and strings with commas."""
    return [name.strip() for entry in names for name in entry.split(",") if name.strip()]


def _fill_hyperparameters(hyper: training_pb2.Hyperparameters, preset: Preset) -> None:
    if not (hyper.HasField("epochs") or hyper.HasField("max_steps")):
        hyper.epochs = 10
    if not (hyper.HasField("warmup_steps") or hyper.HasField("warmup_ratio")):
        hyper.warmup_ratio = DEFAULT_WARMUP_RATIO
    hyper.schedule = hyper.schedule or training_pb2.LEARNING_RATE_SCHEDULE_COSINE
    hyper.precision = hyper.precision or training_pb2.PRECISION_AUTO
    hyper.optimizer = hyper.optimizer or training_pb2.OPTIMIZER_ADAMW
    _fill_batch(hyper, preset)
    _fill(hyper, learning_rate=preset.learning_rate, weight_decay=0.01, max_grad_norm=1.0)
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
        hyper.gradient_accumulation_steps = EFFECTIVE_BATCH // preset.batch_size


def _fill(message: Message, **values: object) -> None:
    """Sets those optional fields that are not set."""
    for name, value in values.items():
        if not message.HasField(name):
            setattr(message, name, value)
