"""Rules of specs that relate several fields; those about one field stand in the protos.

Paths are relative to the spec. Whether a spec fits its base model and dataset is a trainer's to say.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from tuneyard.rpc.errors import Violation
from tuneyard.v1 import training_pb2

_DATASET: Final = re.compile(r"datasets/[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_MODEL: Final = re.compile(r"models/[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_MAX_LABEL_CHARACTERS: Final = 200


def training_violations(spec: training_pb2.TrainingSpec) -> list[Violation]:
    """Everything in a training spec that contradicts something else in it."""
    return [
        *_names(spec),
        *_hyperparameters(spec.hyperparameters),
        *_early_stopping(spec.early_stopping),
        *_data_split(spec),
        *_task(spec),
    ]


def label_violations(labels: Mapping[str, str]) -> list[Violation]:
    """Labels that are empty or too long to be searched."""
    return [
        Violation(
            f'labels["{key[:40]}"]',
            f"keys have 1 to {_MAX_LABEL_CHARACTERS} characters, values at most so many",
        )
        for key, value in labels.items()
        if not 0 < len(key) <= _MAX_LABEL_CHARACTERS or len(value) > _MAX_LABEL_CHARACTERS
    ]


def _names(spec: training_pb2.TrainingSpec) -> Iterator[Violation]:
    if spec.base_model.startswith("models/") and not _MODEL.fullmatch(spec.base_model):
        yield Violation("base_model", 'a model of the store looks like "models/{model}"')
    if spec.base_model_revision and spec.base_model.startswith("models/"):
        yield Violation("base_model_revision", "a model of the store has one revision; leave this unset")


def _hyperparameters(settings: training_pb2.Hyperparameters) -> Iterator[Violation]:
    at = "hyperparameters"
    if settings.HasField("epochs") and settings.HasField("max_steps"):
        yield Violation(f"{at}.max_steps", "set epochs or max_steps, not both")
    if settings.HasField("warmup_steps") and settings.HasField("warmup_ratio"):
        yield Violation(f"{at}.warmup_ratio", "set warmup_steps or warmup_ratio, not both")
    if settings.HasField("max_steps") and settings.warmup_steps > settings.max_steps:
        yield Violation(f"{at}.warmup_steps", f"must be at most max_steps, which is {settings.max_steps}")
    is_sgd = settings.optimizer in (training_pb2.OPTIMIZER_SGD, training_pb2.OPTIMIZER_UNSPECIFIED)
    if settings.HasField("momentum") and not is_sgd:
        yield Violation(f"{at}.momentum", "is a setting of SGD; leave it unset, or choose SGD")


def _early_stopping(policy: training_pb2.EarlyStopping) -> Iterator[Violation]:
    if not policy.patience and (policy.metric or policy.HasField("min_delta")):
        yield Violation("early_stopping.patience", "must be at least 1 where metric or min_delta is set")


def _data_split(spec: training_pb2.TrainingSpec) -> Iterator[Violation]:
    split, at = spec.data_split, "data_split"
    if not split.validation_dataset:
        return
    if not _DATASET.fullmatch(split.validation_dataset):
        yield Violation(f"{at}.validation_dataset", 'must look like "datasets/{dataset}"')
    if split.validation_dataset == spec.dataset:
        yield Violation(f"{at}.validation_dataset", "must be another dataset than the one trained on")
    if split.HasField("validation_fraction"):
        yield Violation(
            f"{at}.validation_fraction", "set validation_dataset or validation_fraction, not both"
        )


def _task(spec: training_pb2.TrainingSpec) -> Iterator[Violation]:
    match spec.WhichOneof("task"):
        case None:
            tasks = "image_classifier, object_detector, text_to_image_lora or language_model"
            yield Violation("task", f"is required: {tasks}")
        case "image_classifier":
            yield from _class_weights("image_classifier", spec.image_classifier.class_weights)
        case "object_detector":
            yield from _class_weights("object_detector", spec.object_detector.class_weights)
            if spec.object_detector.image_size % 32:
                yield Violation("object_detector.image_size", "must be a multiple of 32")
        case "text_to_image_lora":
            yield from _text_to_image(spec.text_to_image_lora)
        case "language_model":
            yield from _language_model(spec.language_model)


def _class_weights(at: str, weights: Mapping[str, float]) -> Iterator[Violation]:
    for name, weight in weights.items():
        if not weight >= 0:
            yield Violation(f'{at}.class_weights["{name}"]', f"must be at least 0; it is {weight:g}")


def _text_to_image(task: training_pb2.TextToImageLora) -> Iterator[Violation]:
    at = "text_to_image_lora"
    if task.prior_loss_weight and not task.class_prompt:
        yield Violation(f"{at}.class_prompt", "is required where prior_loss_weight is set")
    if task.HasField("text_encoder_learning_rate") and not task.train_text_encoder:
        yield Violation(
            f"{at}.train_text_encoder", "must be true where the text encoders have a learning rate"
        )
    yield from _lora(f"{at}.lora", task.lora)


def _language_model(task: training_pb2.LanguageModel) -> Iterator[Violation]:
    at, bits = "language_model", task.quantization
    if task.method == training_pb2.FINE_TUNING_METHOD_FULL and task.HasField("lora"):
        yield Violation(f"{at}.lora", "is for LoRA and QLoRA; full fine-tuning has no adapters")
    if task.HasField("quantization") and task.method != training_pb2.FINE_TUNING_METHOD_QLORA:
        yield Violation(f"{at}.quantization", "is for QLoRA; set method to QLoRA, or leave this unset")
    if bits.use_4bit and bits.use_8bit:
        yield Violation(f"{at}.quantization.use_8bit", "set use_4bit or use_8bit, not both")
    if bits.HasField("use_4bit") and not bits.use_4bit and not bits.use_8bit:
        yield Violation(f"{at}.quantization.use_4bit", "QLoRA needs a base in 4 or 8 bits")
    yield from _lora(f"{at}.lora", task.lora)


def _lora(at: str, lora: training_pb2.LoraConfig) -> Iterator[Violation]:
    for index, name in enumerate(lora.target_modules):
        if not name.strip():
            yield Violation(f"{at}.target_modules[{index}]", "must not be empty")
    if len(lora.target_modules) > 1 and "all-linear" in lora.target_modules:
        yield Violation(f"{at}.target_modules", '"all-linear" stands alone')
