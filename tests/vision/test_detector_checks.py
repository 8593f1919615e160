import pytest

from tuneyard.v1 import dataset_pb2, training_pb2
from tuneyard.vision.detector_checks import unknown_detector, violations, warnings, wrong_format
from tuneyard.vision.detector_recommended import recommended_spec, resolve
from tuneyard.vision.facts import DataFacts

Spec = training_pb2.TrainingSpec
Hyper = training_pb2.Hyperparameters
Task = training_pb2.ObjectDetector
Strengths = training_pb2.DetectionAugmentation


def fields(given: Spec, facts: DataFacts | None = None) -> list[str]:
    return [violation.field for violation in violations(given, resolve(given), facts, [])]


def test_the_recommended_settings_are_the_guides() -> None:
    spec = recommended_spec("yolov8n")
    assert (spec.hyperparameters.batch_size, spec.object_detector.image_size) == (16, 640)
    assert 50 <= spec.hyperparameters.epochs <= 100
    assert spec.hyperparameters.schedule == training_pb2.LEARNING_RATE_SCHEDULE_COSINE
    assert spec.hyperparameters.warmup_ratio > 0
    assert fields(spec) == [] and resolve(spec) == spec


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (Spec(hyperparameters=Hyper(epochs=1, max_steps=2)), "hyperparameters.max_steps"),
        (Spec(hyperparameters=Hyper(warmup_steps=1, warmup_ratio=0.1)), "hyperparameters.warmup_ratio"),
        (Spec(hyperparameters=Hyper(momentum=0.9)), "hyperparameters.momentum"),
        (
            Spec(hyperparameters=Hyper(optimizer=training_pb2.OPTIMIZER_ADAMW_8BIT)),
            "hyperparameters.optimizer",
        ),
        (Spec(hyperparameters=Hyper(precision=training_pb2.PRECISION_FP16)), "hyperparameters.precision"),
        (Spec(early_stopping=training_pb2.EarlyStopping(metric="eval/accuracy")), "early_stopping.metric"),
        (Spec(object_detector=Task(image_size=650)), "object_detector.image_size"),
        (Spec(base_model_revision="abc"), "base_model_revision"),
        (Spec(resources=training_pb2.Resources(device_count=2)), "resources.device_count"),
        (
            Spec(object_detector=Task(augmentation=Strengths(copy_paste=0.1))),
            "object_detector.augmentation.copy_paste",
        ),
        (
            Spec(object_detector=Task(rectangular=True, augmentation=Strengths(mosaic=1))),
            "object_detector.augmentation.mosaic",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_is_refused_at_its_field(given: Spec, field: str) -> None:
    assert fields(given) == [f"spec.{field}"]


def test_batches_and_weights_must_fit_the_data() -> None:
    facts = DataFacts(("cat", "dog"), 10, 2, True, ("cat", 4), 500)
    given = Spec(object_detector=Task(class_weights={"cow": 1.0, "dog": 0.0}))
    assert fields(given, facts) == [
        "spec.hyperparameters.batch_size",
        "spec.object_detector.class_weights",
        "spec.object_detector.class_weights",
    ]


def test_unusual_settings_are_told() -> None:
    given = Spec(hyperparameters=Hyper(epochs=5, batch_size=2, learning_rate=0.5))
    told = [warning.field for warning in warnings(given, resolve(given), None)]
    assert told.count("spec.hyperparameters.batch_size") == 2
    assert {"spec.hyperparameters.epochs", "spec.hyperparameters.learning_rate"} <= set(told)


def test_rectangular_batches_turn_mosaics_off() -> None:
    assert resolve(Spec(object_detector=Task(rectangular=True))).object_detector.augmentation.mosaic == 0


def test_other_formats_and_models_are_named() -> None:
    assert wrong_format(dataset_pb2.DATASET_FORMAT_YOLO) is None
    told = wrong_format(dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER)
    assert told is not None and "format yolo, not image-folder" in told.description
    assert "yolov8n" in unknown_detector("yolov8nn").description
    assert "train image-classifier" in unknown_detector("resnet50").description
