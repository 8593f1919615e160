"""The detector's settings: one frozen value, built once from the protobuf spec, which no recipe sees."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tuneyard.trainer.training_settings import PrecisionName, ScheduleName, shared_settings
from tuneyard.v1 import trainer_service_pb2, training_pb2
from tuneyard.vision.detector_architectures import architecture_name
from tuneyard.vision.detector_recommended import MAIN_METRIC, resolve

OptimizerName = Literal["adamw", "sgd"]

_OPTIMIZERS: dict[int, OptimizerName] = {
    training_pb2.OPTIMIZER_ADAMW: "adamw",
    training_pb2.OPTIMIZER_SGD: "sgd",
}


@dataclass(frozen=True, kw_only=True)
class DetectionAugmentation:
    """How training images are varied, by ultralytics' strengths; 0 turns each of them off."""

    hsv_h: float = 0.015
    hsv_s: float = 0.7
    hsv_v: float = 0.4
    degrees: float = 0.0
    translate: float = 0.1
    scale: float = 0.5
    shear: float = 0.0
    perspective: float = 0.0
    vertical_flip: float = 0.0
    horizontal_flip: float = 0.5
    mosaic: float = 1.0
    mixup: float = 0.0


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """Every setting of one training, resolved; None stands only where "unset" has a meaning of its own."""

    architecture: str
    base_model: str
    """The name in the catalogue or in the store ("models/…")."""
    pretrained: bool = True
    image_size: int = 640
    """The longer side of the input in px, a multiple of 32."""
    epochs: int | None = 100
    max_steps: int | None = None
    batch_size: int = 16
    gradient_accumulation_steps: int = 1
    optimizer: OptimizerName = "adamw"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 5e-4
    max_grad_norm: float = 10.0
    """0 turns clipping off."""
    schedule: ScheduleName = "cosine"
    warmup_steps: int | None = None
    warmup_ratio: float = 0.05
    """Holds where `warmup_steps` is None."""
    precision: PrecisionName = "auto"
    data_loader_workers: int | None = None
    """Processes that prepare batches; None: none on the processor, as many as help on an accelerator."""
    eval_steps: int | None = None
    """None: at the end of each epoch."""
    save_steps: int | None = None
    """None: at the end of each epoch, and at least every ten minutes."""
    patience: int = 0
    """0 turns early stopping off."""
    watched_metric: str = MAIN_METRIC
    min_delta: float = 0.0
    validation_fraction: float = 0.15
    max_train_samples: int | None = None
    seed: int = 0
    freeze_layers: int = 0
    close_mosaic_epochs: int = 10
    rectangular: bool = False
    balance_classes: bool = False
    class_weights: Mapping[str, float]
    augmentation: DetectionAugmentation = DetectionAugmentation()

    @property
    def effective_batch_size(self) -> int:
        """Samples per optimizer step."""
        return self.batch_size * self.gradient_accumulation_steps

    @property
    def evaluation_batch_size(self) -> int:
        """Without gradients, batches twice as large take less memory than those of the training.

        Training and Evaluate measure alike: neighbours of a batch share a shape, and rounding follows it.
        """
        return 2 * self.batch_size

    @property
    def watches_loss(self) -> bool:
        """Whether less is better of the watched metric."""
        return self.watched_metric.endswith("loss")


def detector_config(request: trainer_service_pb2.StartRunRequest) -> DetectorConfig:
    """The settings of a run that trains an object detector."""
    spec = resolve(request.spec.training)
    task, hyper = spec.object_detector, spec.hyperparameters
    strengths = task.augmentation
    name = request.model.architecture or spec.base_model
    return DetectorConfig(
        **shared_settings(spec),
        architecture=architecture_name(name) or name,
        pretrained=task.pretrained,
        image_size=task.image_size,
        optimizer=_OPTIMIZERS[hyper.optimizer],
        data_loader_workers=hyper.data_loader_workers if hyper.HasField("data_loader_workers") else None,
        freeze_layers=task.freeze_layers,
        close_mosaic_epochs=task.close_mosaic_epochs,
        rectangular=task.rectangular,
        balance_classes=task.balance_classes,
        class_weights=dict(task.class_weights),
        augmentation=DetectionAugmentation(
            hsv_h=strengths.hsv_h,
            hsv_s=strengths.hsv_s,
            hsv_v=strengths.hsv_v,
            degrees=strengths.degrees,
            translate=strengths.translate,
            scale=strengths.scale,
            shear=strengths.shear,
            perspective=strengths.perspective,
            vertical_flip=strengths.vertical_flip,
            horizontal_flip=strengths.horizontal_flip,
            mosaic=strengths.mosaic,
            mixup=strengths.mixup,
        ),
    )
