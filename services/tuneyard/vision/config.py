"""The classifier's settings: one frozen value, built once from the protobuf spec, which no recipe sees."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tuneyard.trainer.training_settings import PrecisionName, ScheduleName, shared_settings
from tuneyard.v1 import trainer_service_pb2, training_pb2
from tuneyard.vision.recommended import resolve

OptimizerName = Literal["adamw", "sgd"]

_OPTIMIZERS: dict[int, OptimizerName] = {
    training_pb2.OPTIMIZER_ADAMW: "adamw",
    training_pb2.OPTIMIZER_SGD: "sgd",
}


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How training images are varied; each strength has a value that turns it off."""

    crop_min_scale: float = 1.0
    horizontal_flip: float = 0.0
    randaugment_magnitude: int = 0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """Every setting of one training, resolved; None stands only where "unset" has a meaning of its own."""

    architecture: str
    base_model: str
    """The name in the catalogue or in the store ("models/…")."""
    pretrained: bool = True
    image_size: int = 224
    """The side of the square input in px."""
    epochs: int | None = 15
    max_steps: int | None = None
    batch_size: int = 16
    gradient_accumulation_steps: int = 1
    optimizer: OptimizerName = "adamw"
    learning_rate: float = 1e-4
    momentum: float = 0.9
    weight_decay: float = 0.05
    max_grad_norm: float = 1.0
    """0 turns clipping off."""
    schedule: ScheduleName = "cosine"
    warmup_steps: int | None = None
    warmup_ratio: float = 0.05
    """Holds where `warmup_steps` is None."""
    precision: PrecisionName = "auto"
    data_loader_workers: int | None = None
    """Threads that decode images into the cache; None: one per thread of the run."""
    eval_steps: int | None = None
    """None: at the end of each epoch."""
    save_steps: int | None = None
    """None: at the end of each epoch, and at least every ten minutes."""
    patience: int = 0
    """0 turns early stopping off."""
    watched_metric: str = "eval/accuracy_top1"
    min_delta: float = 0.0
    validation_fraction: float = 0.15
    max_train_samples: int | None = None
    seed: int = 0
    freeze_backbone: bool = False
    dropout: float | None = None
    """None: the architecture's own."""
    label_smoothing: float = 0.0
    balance_classes: bool = False
    class_weights: Mapping[str, float]
    augmentation: Augmentation = Augmentation()
    ema_decay: float = 0.0
    gradient_checkpointing: bool = False

    @property
    def effective_batch_size(self) -> int:
        """Samples per optimizer step."""
        return self.batch_size * self.gradient_accumulation_steps

    @property
    def watches_loss(self) -> bool:
        """Whether less is better of the watched metric."""
        return self.watched_metric.endswith("loss")


def classifier_config(request: trainer_service_pb2.StartRunRequest) -> ClassifierConfig:
    """The settings of a run that trains an image classifier."""
    spec = resolve(request.spec.training)
    task, hyper = spec.image_classifier, spec.hyperparameters
    return ClassifierConfig(
        **shared_settings(spec),
        architecture=request.model.architecture or spec.base_model,
        pretrained=task.pretrained,
        image_size=task.image_size,
        optimizer=_OPTIMIZERS[hyper.optimizer],
        data_loader_workers=hyper.data_loader_workers if hyper.HasField("data_loader_workers") else None,
        freeze_backbone=task.freeze_backbone,
        dropout=task.dropout if task.HasField("dropout") else None,
        label_smoothing=task.label_smoothing,
        balance_classes=task.balance_classes,
        class_weights=dict(task.class_weights),
        augmentation=Augmentation(
            crop_min_scale=task.augmentation.crop_min_scale,
            horizontal_flip=task.augmentation.horizontal_flip,
            randaugment_magnitude=task.augmentation.randaugment_magnitude,
            mixup_alpha=task.augmentation.mixup_alpha,
            cutmix_alpha=task.augmentation.cutmix_alpha,
        ),
        ema_decay=task.ema_decay,
        gradient_checkpointing=task.gradient_checkpointing,
    )
