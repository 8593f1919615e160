"""Rules that relate several fields of a spec."""

from typing import Any

import pytest

from tuneyard.gateway.spec_rules import label_violations, training_violations
from tuneyard.v1 import training_pb2 as pb


def fields(**values: Any) -> list[str]:
    spec = pb.TrainingSpec(**{"dataset": "datasets/d", "base_model": "resnet50"} | values)
    if spec.WhichOneof("task") is None:
        spec.image_classifier.SetInParent()
    return [violation.field for violation in training_violations(spec)]


def test_a_plain_spec_breaks_none() -> None:
    assert fields() == []


def test_a_spec_needs_a_task() -> None:
    assert [each.field for each in training_violations(pb.TrainingSpec())] == ["task"]


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"epochs": 1, "max_steps": 5}, "max_steps"),
        ({"warmup_steps": 1, "warmup_ratio": 0.1}, "warmup_ratio"),
        ({"warmup_steps": 9, "max_steps": 5}, "warmup_steps"),
        ({"momentum": 0.9, "optimizer": pb.OPTIMIZER_ADAMW}, "momentum"),
    ],
)
def test_hyperparameters_that_contradict_each_other(settings: dict[str, Any], field: str) -> None:
    assert fields(hyperparameters=pb.Hyperparameters(**settings)) == [f"hyperparameters.{field}"]


@pytest.mark.parametrize(
    ("split", "field"),
    [
        ({"validation_dataset": "datasets/v", "validation_fraction": 0.2}, "validation_fraction"),
        ({"validation_dataset": "datasets/d"}, "validation_dataset"),
        ({"validation_dataset": "v"}, "validation_dataset"),
    ],
)
def test_splits_that_contradict_each_other(split: dict[str, Any], field: str) -> None:
    assert fields(data_split=pb.DataSplit(**split)) == [f"data_split.{field}"]


def test_early_stopping_needs_patience() -> None:
    assert fields(early_stopping=pb.EarlyStopping(metric="eval/loss")) == ["early_stopping.patience"]
    assert fields(early_stopping=pb.EarlyStopping(patience=2, min_delta=0.1)) == []


def test_class_weights_are_not_negative() -> None:
    task = pb.ImageClassifier(class_weights={"cat": -1, "dog": 2})
    assert fields(image_classifier=task) == ['image_classifier.class_weights["cat"]']


def test_a_model_of_the_store_has_no_revision() -> None:
    assert fields(base_model="models/m", base_model_revision="abc") == ["base_model_revision"]
    assert fields(base_model="models/../m") == ["base_model"]


@pytest.mark.parametrize(
    ("task", "field"),
    [
        ({"object_detector": pb.ObjectDetector(image_size=100)}, "object_detector.image_size"),
        (
            {"text_to_image_lora": pb.TextToImageLora(prior_loss_weight=1)},
            "text_to_image_lora.class_prompt",
        ),
        (
            {"text_to_image_lora": pb.TextToImageLora(text_encoder_learning_rate=1e-5)},
            "text_to_image_lora.train_text_encoder",
        ),
        (
            {
                "language_model": pb.LanguageModel(
                    method=pb.FINE_TUNING_METHOD_FULL, lora=pb.LoraConfig(lora_r=8)
                )
            },
            "language_model.lora",
        ),
        (
            {"language_model": pb.LanguageModel(quantization=pb.Quantization(use_4bit=True))},
            "language_model.quantization",
        ),
        (
            {"language_model": pb.LanguageModel(lora=pb.LoraConfig(target_modules=["all-linear", "q_proj"]))},
            "language_model.lora.target_modules",
        ),
    ],
)
def test_tasks_that_contradict_themselves(task: dict[str, Any], field: str) -> None:
    assert fields(**task) == [field]


def test_labels_have_bounds() -> None:
    assert label_violations({"team": "a"}) == []
    assert len(label_violations({"": "a", "k" * 201: "", "k": "v" * 201})) == 3
