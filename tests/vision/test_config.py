from tuneyard.v1 import trainer_service_pb2, training_pb2
from tuneyard.vision.config import Augmentation, ClassifierConfig, classifier_config


def test_every_field_of_the_spec_arrives() -> None:
    request = trainer_service_pb2.StartRunRequest()
    request.model.architecture = "resnet18"
    spec = request.spec.training
    spec.base_model, spec.seed = "models/mine", 9
    hyper, task = spec.hyperparameters, spec.image_classifier
    hyper.max_steps, hyper.batch_size, hyper.gradient_accumulation_steps = 40, 4, 3
    hyper.learning_rate, hyper.warmup_steps, hyper.weight_decay, hyper.max_grad_norm = 0.5, 6, 0.25, 2.0
    hyper.optimizer, hyper.momentum = training_pb2.OPTIMIZER_SGD, 0.75
    hyper.schedule, hyper.precision = training_pb2.LEARNING_RATE_SCHEDULE_LINEAR, training_pb2.PRECISION_BF16
    hyper.eval_steps, hyper.data_loader_workers = 5, 2
    spec.checkpoints.save_steps = 10
    spec.early_stopping.patience, spec.early_stopping.min_delta = 3, 0.5
    spec.early_stopping.metric = "eval/loss"
    spec.data_split.validation_fraction, spec.data_split.max_train_samples = 0.25, 50
    task.pretrained, task.image_size, task.freeze_backbone, task.dropout = False, 64, True, 0.5
    task.label_smoothing, task.balance_classes, task.ema_decay = 0.125, True, 0.75
    task.gradient_checkpointing = True
    task.class_weights["a"] = 2.0
    task.augmentation.crop_min_scale, task.augmentation.horizontal_flip = 0.75, 0.25
    task.augmentation.randaugment_magnitude = 4
    task.augmentation.mixup_alpha, task.augmentation.cutmix_alpha = 0.5, 1.5
    assert classifier_config(request) == ClassifierConfig(
        architecture="resnet18",
        base_model="models/mine",
        pretrained=False,
        image_size=64,
        epochs=None,
        max_steps=40,
        batch_size=4,
        gradient_accumulation_steps=3,
        optimizer="sgd",
        learning_rate=0.5,
        momentum=0.75,
        weight_decay=0.25,
        max_grad_norm=2.0,
        schedule="linear",
        warmup_steps=6,
        warmup_ratio=0.0,
        precision="bf16",
        data_loader_workers=2,
        eval_steps=5,
        save_steps=10,
        patience=3,
        watched_metric="eval/loss",
        min_delta=0.5,
        validation_fraction=0.25,
        max_train_samples=50,
        seed=9,
        freeze_backbone=True,
        dropout=0.5,
        label_smoothing=0.125,
        balance_classes=True,
        class_weights={"a": 2.0},
        augmentation=Augmentation(
            crop_min_scale=0.75,
            horizontal_flip=0.25,
            randaugment_magnitude=4,
            mixup_alpha=0.5,
            cutmix_alpha=1.5,
        ),
        ema_decay=0.75,
        gradient_checkpointing=True,
    )
