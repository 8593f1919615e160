"""The settings that are used where the caller sets none. Imports no torch; judges nothing (see `checks`)."""

from dataclasses import dataclass

from tuneyard.diffusion.pipeline_facts import PipelineFacts
from tuneyard.trainer.recommended import fill, fill_batch, fill_shared
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
    preset, hyper, task = preset_for(facts), resolved.hyperparameters, resolved.text_to_image_lora
    task.SetInParent()
    fill_shared(resolved, epochs=10, warmup_ratio=DEFAULT_WARMUP_RATIO, metric=MAIN_METRIC)
    fill_batch(hyper, batch_size=preset.batch_size, effective=EFFECTIVE_BATCH)
    fill(hyper, learning_rate=preset.learning_rate, weight_decay=0.01, max_grad_norm=1.0)
    _fill_task(task, preset, facts)
    return resolved


def recommended_spec(base_model: str, facts: PipelineFacts) -> training_pb2.TrainingSpec:
    """The spec as it is where the caller names nothing but the base model."""
    return resolve(training_pb2.TrainingSpec(base_model=base_model), facts)


def _fill_task(task: training_pb2.TextToImageLora, preset: Preset, facts: PipelineFacts | None) -> None:
    native = facts.resolution if facts and facts.resolution else preset.resolution
    fill(
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
    fill(lora, lora_r=_RANK, lora_dropout=0.0)
    fill(lora, lora_alpha=2 * lora.lora_r)
    names = module_names(list(lora.target_modules))
    del lora.target_modules[:]
    lora.target_modules.extend(names)


def module_names(names: list[str]) -> list[str]:
    """Names of modules, each by itself: users write lists, and strings with commas."""
    return [name.strip() for entry in names for name in entry.split(",") if name.strip()]
