"""The training's settings: one frozen value, built once from the protobuf spec, which no recipe sees."""

from dataclasses import dataclass
from typing import Literal

from tuneyard.diffusion.recommended import resolve
from tuneyard.trainer.training_settings import PrecisionName, ScheduleName, shared_settings
from tuneyard.v1 import trainer_service_pb2, training_pb2

MAX_PROMPTS = 4
"""Of sample images: drawing is not to take longer than training."""
OptimizerName = Literal["adamw", "sgd", "adamw_8bit", "paged_adamw_8bit"]
PredictionName = Literal["auto", "epsilon", "v_prediction"]

_OPTIMIZERS: dict[int, OptimizerName] = {
    training_pb2.OPTIMIZER_ADAMW: "adamw",
    training_pb2.OPTIMIZER_SGD: "sgd",
    training_pb2.OPTIMIZER_ADAMW_8BIT: "adamw_8bit",
    training_pb2.OPTIMIZER_PAGED_ADAMW_8BIT: "paged_adamw_8bit",
}
_PREDICTIONS: dict[int, PredictionName] = {
    training_pb2.PREDICTION_TYPE_UNSPECIFIED: "auto",
    training_pb2.PREDICTION_TYPE_EPSILON: "epsilon",
    training_pb2.PREDICTION_TYPE_V_PREDICTION: "v_prediction",
}


@dataclass(frozen=True, kw_only=True)
class Lora:
    """The adapters of the UNet or transformer."""

    r: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ()
    """Names of modules, or "all-linear" alone; empty: the attention projections."""
    use_dora: bool = False
    use_rslora: bool = False


@dataclass(frozen=True, kw_only=True)
class TextToImageConfig:
    """Every setting of one training, resolved; None stands only where "unset" has a meaning of its own."""

    base_model: str
    """An alias of the catalogue, a hub's id, or the name in the store ("models/…")."""
    base_model_revision: str = ""
    lora: Lora = Lora()
    resolution: int = 512
    """The side of the square training area in px; buckets of other aspect ratios keep about its area."""
    epochs: int | None = 10
    max_steps: int | None = None
    batch_size: int = 1
    gradient_accumulation_steps: int = 4
    optimizer: OptimizerName = "adamw"
    learning_rate: float = 1e-4
    text_encoder_learning_rate: float | None = None
    """None: that of the UNet."""
    momentum: float = 0.9
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    """0 turns clipping off."""
    schedule: ScheduleName = "cosine"
    warmup_steps: int | None = None
    warmup_ratio: float = 0.05
    """Holds where `warmup_steps` is None."""
    precision: PrecisionName = "auto"
    data_loader_workers: int | None = None
    """Threads that decode images; None: one per thread of the run."""
    eval_steps: int | None = None
    """None: at the end of each epoch."""
    save_steps: int | None = None
    """None: at the end of each epoch, and at least every ten minutes."""
    patience: int = 0
    """0 turns early stopping off."""
    watched_metric: str = "eval/loss"
    min_delta: float = 0.0
    validation_fraction: float = 0.15
    max_train_samples: int | None = None
    seed: int = 0
    train_text_encoder: bool = False
    instance_prompt: str = ""
    """The caption of images that have none."""
    class_prompt: str = ""
    """The caption of class images; "" where there are none."""
    prior_loss_weight: float = 0.0
    """0 turns prior preservation off."""
    noise_offset: float = 0.0
    min_snr_gamma: float = 0.0
    """0 turns the weighting off."""
    prediction_type: PredictionName = "auto"
    """auto: the base model's own."""
    caption_dropout: float = 0.0
    horizontal_flip: float = 0.0
    random_crop: bool = False
    ema_decay: float = 0.0
    gradient_checkpointing: bool = False
    cache_latents: bool = True
    validation_prompts: tuple[str, ...] = ()
    """Of sample images; empty: the captions of a few held-out images."""
    sample_steps: int | None = None
    """None: at each evaluation."""
    trigger_words: tuple[str, ...] = ()
    clip_model: str = ""
    """The model of the store that scores sample images; "" for none."""

    @property
    def effective_batch_size(self) -> int:
        """Samples per optimizer step."""
        return self.batch_size * self.gradient_accumulation_steps

    @property
    def watches_loss(self) -> bool:
        """Whether less is better of the watched metric."""
        return self.watched_metric.endswith("loss")


def text_to_image_config(request: trainer_service_pb2.StartRunRequest) -> TextToImageConfig:
    """The settings of a run that trains LoRA weights of a text-to-image model."""
    spec = resolve(request.spec.training)
    task, hyper = spec.text_to_image_lora, spec.hyperparameters
    return TextToImageConfig(
        **shared_settings(spec),
        base_model_revision=spec.base_model_revision,
        lora=_lora(task.lora),
        resolution=task.resolution,
        optimizer=_OPTIMIZERS[hyper.optimizer],
        text_encoder_learning_rate=(
            task.text_encoder_learning_rate if task.HasField("text_encoder_learning_rate") else None
        ),
        data_loader_workers=hyper.data_loader_workers if hyper.HasField("data_loader_workers") else None,
        train_text_encoder=task.train_text_encoder,
        instance_prompt=task.instance_prompt,
        class_prompt=task.class_prompt,
        prior_loss_weight=task.prior_loss_weight,
        noise_offset=task.noise_offset,
        min_snr_gamma=task.min_snr_gamma,
        prediction_type=_PREDICTIONS[task.prediction_type],
        caption_dropout=task.caption_dropout,
        horizontal_flip=task.horizontal_flip,
        random_crop=task.random_crop,
        ema_decay=task.ema_decay,
        gradient_checkpointing=task.gradient_checkpointing,
        cache_latents=task.cache_latents,
        validation_prompts=tuple(task.validation_prompts),
        sample_steps=task.sample_steps if task.HasField("sample_steps") else None,
        trigger_words=tuple(task.trigger_words),
        clip_model=task.clip_model,
    )


def _lora(lora: training_pb2.LoraConfig) -> Lora:
    return Lora(
        r=lora.lora_r,
        alpha=lora.lora_alpha,
        dropout=lora.lora_dropout,
        target_modules=tuple(lora.target_modules),
        use_dora=lora.use_dora,
        use_rslora=lora.use_rslora,
    )
