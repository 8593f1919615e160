import json
import subprocess
import sys
from typing import Any

import pytest

from tuneyard.datasets.class_balance import MIN_SAMPLES_PER_CLASS
from tuneyard.v1 import dataset_pb2, errors_pb2, job_pb2, system_pb2, trainer_service_pb2, training_pb2
from tuneyard.vision.estimate import estimate
from tuneyard.vision.recommended import FEW_SAMPLES, resolve

CPU = system_pb2.Device(id="cpu", memory_total_bytes=64 << 30)
GPU = system_pb2.Device(id="cuda:0", memory_total_bytes=8 << 30)


def spec(**changes: Any) -> training_pb2.TrainingSpec:
    message = training_pb2.TrainingSpec(dataset="datasets/d", base_model="resnet50")
    message.image_classifier.SetInParent()
    for path, value in changes.items():
        target: Any = message
        *parents, name = path.split("__")
        for parent in parents:
            target = getattr(target, parent)
        if isinstance(value, dict):
            getattr(target, name).update(value)
        else:
            setattr(target, name, value)
    return message


def source(per_class: dict[str, int], **splits: int) -> trainer_service_pb2.DatasetSource:
    report = dataset_pb2.ValidationReport(classes=sorted(per_class), median_width=300, median_height=200)
    report.splits.add(split="train", samples=sum(per_class.values()), samples_per_class=per_class)
    for split, samples in splits.items():
        report.splits.add(split=split, samples=samples)
    return trainer_service_pb2.DatasetSource(
        name="datasets/d", format=dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER, report=report, size_bytes=1000
    )


def answer(
    given: training_pb2.TrainingSpec,
    dataset: trainer_service_pb2.DatasetSource | None = None,
    devices: tuple[system_pb2.Device, ...] = (CPU,),
) -> trainer_service_pb2.TrainerServiceEstimateResponse:
    request = trainer_service_pb2.TrainerServiceEstimateRequest(
        spec=job_pb2.JobSpec(training=given), dataset=dataset
    )
    return estimate(request, devices)


def fields(found: Any) -> list[str]:
    return [violation.field for violation in found]


def test_unset_fields_get_what_the_guide_recommends() -> None:
    found = answer(spec()).estimate
    hyper, task = found.resolved_spec.training.hyperparameters, found.resolved_spec.training.image_classifier
    assert (hyper.epochs, hyper.batch_size, hyper.learning_rate, task.image_size) == (15, 16, 1e-4, 224)
    assert (hyper.optimizer, hyper.schedule) == (
        training_pb2.OPTIMIZER_ADAMW,
        training_pb2.LEARNING_RATE_SCHEDULE_COSINE,
    )
    assert task.pretrained and found.resolved_spec.training.seed == 0
    assert list(found.given_fields) == ["dataset", "base_model"]
    assert not found.violations and not found.warnings and found.fits


def test_resolving_is_idempotent_and_keeps_what_was_given() -> None:
    given = spec(hyperparameters__max_steps=7, hyperparameters__warmup_steps=2, seed=5)
    once = resolve(given)
    assert resolve(once) == once
    assert not once.hyperparameters.HasField("epochs")
    assert not once.hyperparameters.HasField("warmup_ratio")
    assert (once.hyperparameters.max_steps, once.seed) == (7, 5)


def test_steps_follow_from_the_split_and_the_effective_batch() -> None:
    given = spec(
        hyperparameters__epochs=10,
        hyperparameters__batch_size=8,
        hyperparameters__gradient_accumulation_steps=2,
        data_split__validation_fraction=0.2,
    )
    found = answer(given, source({"a": 100, "b": 50})).estimate
    assert (found.train_samples, found.validation_samples) == (120, 30)
    assert (found.total_steps, found.effective_batch_size) == (80, 16)
    own = answer(given, source({"a": 100, "b": 50}, val=40)).estimate
    assert (own.train_samples, own.validation_samples) == (150, 40)


def test_a_subset_is_what_is_planned() -> None:
    given = spec(data_split__max_train_samples=32, hyperparameters__epochs=3)
    assert answer(given, source({"a": 100, "b": 50})).estimate.total_steps == 6


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"hyperparameters__epochs": 3, "hyperparameters__max_steps": 5}, "hyperparameters.max_steps"),
        (
            {"hyperparameters__warmup_steps": 3, "hyperparameters__warmup_ratio": 0.1},
            "hyperparameters.warmup_ratio",
        ),
        ({"hyperparameters__optimizer": training_pb2.OPTIMIZER_ADAMW_8BIT}, "hyperparameters.optimizer"),
        ({"hyperparameters__momentum": 0.5}, "hyperparameters.momentum"),
        ({"hyperparameters__precision": training_pb2.PRECISION_FP16}, "hyperparameters.precision"),
        ({"hyperparameters__batch_size": 200}, "hyperparameters.batch_size"),
        ({"early_stopping__metric": "loss"}, "early_stopping.metric"),
        # With two classes it is always 1.
        ({"early_stopping__metric": "eval/accuracy_top5"}, "early_stopping.metric"),
        ({"resources__device_count": 2}, "resources.device_count"),
        ({"base_model_revision": "abc"}, "base_model_revision"),
        ({"data_split__max_train_samples": 1}, "data_split.max_train_samples"),
        ({"image_classifier__class_weights": {"aa": 2.0}}, "image_classifier.class_weights"),
        ({"image_classifier__class_weights": {"a": 0.0}}, "image_classifier.class_weights"),
        ({"base_model": "vit_b_16", "image_classifier__image_size": 100}, "image_classifier.image_size"),
        ({"base_model": "alexnet", "image_classifier__image_size": 32}, "image_classifier.image_size"),
        (
            {"base_model": "vgg16", "image_classifier__gradient_checkpointing": True},
            "image_classifier.gradient_checkpointing",
        ),
    ],
)
def test_what_cannot_be_done_is_a_violation_of_its_field(changes: dict[str, Any], field: str) -> None:
    found = answer(spec(**changes), source({"a": 100, "b": 50}))
    assert f"spec.{field}" in fields(found.estimate.violations)
    assert found.reason == errors_pb2.ERROR_REASON_INVALID_FIELD


def test_random_weights_get_a_larger_learning_rate() -> None:
    found = answer(spec(image_classifier__pretrained=False)).estimate
    assert found.resolved_spec.training.hyperparameters.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("per_class", "splits"), [({"a": 50}, {}), ({"a": 50, "b": 1}, {}), ({"a": 50, "b": 0}, {"val": 9})]
)
def test_data_that_cannot_be_trained_on_is_a_violation(per_class, splits) -> None:
    assert "spec.dataset" in fields(answer(spec(), source(per_class, **splits)).estimate.violations)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"hyperparameters__epochs": 30}, "hyperparameters.epochs"),
        ({"hyperparameters__batch_size": 64}, "hyperparameters.batch_size"),
        ({"hyperparameters__learning_rate": 0.01}, "hyperparameters.learning_rate"),
        ({"hyperparameters__batch_size": 2}, "hyperparameters.batch_size"),
        ({"image_classifier__image_size": 512}, "image_classifier.image_size"),
        ({"hyperparameters__gradient_accumulation_steps": 50}, "hyperparameters.gradient_accumulation_steps"),
    ],
)
def test_what_is_unusual_is_a_warning_and_no_violation(changes: dict[str, Any], field: str) -> None:
    found = answer(spec(**changes), source({"a": 100, "b": 100})).estimate
    assert f"spec.{field}" in fields(found.warnings)
    assert not found.violations


def test_an_unknown_architecture_names_those_that_are_close() -> None:
    found = answer(spec(base_model="ResNet-50"))
    assert found.reason == errors_pb2.ERROR_REASON_UNKNOWN_BASE_MODEL
    assert fields(found.estimate.violations) == ["spec.base_model"]
    assert "resnet50" in found.estimate.violations[0].description


def test_a_detector_is_no_classifier_and_the_answer_says_what_it_is() -> None:
    found = answer(spec(base_model="yolov8n")).estimate
    assert "tuneyard train object-detector" in found.violations[0].description


def test_a_hub_model_says_what_to_import_and_what_is_alike() -> None:
    found = answer(spec(base_model="google/vit-base-patch16-224"))
    assert found.reason == errors_pb2.ERROR_REASON_BASE_MODEL_UNAVAILABLE
    description = found.estimate.violations[0].description
    assert "tuneyard models import google/vit-base-patch16-224" in description
    assert "vit_b_16" in description


@pytest.mark.parametrize("name", ["../../etc", "a/../b", "/etc/passwd", "a/b/c", "x//y", "models/"])
def test_a_path_is_no_hub_model(name: str) -> None:
    assert answer(spec(base_model=name)).reason == errors_pb2.ERROR_REASON_UNKNOWN_BASE_MODEL


def test_of_very_many_faults_some_are_told_and_the_rest_counted() -> None:
    weights = {f"class {number}": 1.0 for number in range(20_000)}
    given = spec(image_classifier__class_weights=weights)
    found = answer(given, source({"a": 100, "b": 50})).estimate.violations
    assert len(found) == 21
    assert "19980 more" in found[-1].description


def test_an_imported_model_is_judged_by_its_architecture() -> None:
    request = trainer_service_pb2.TrainerServiceEstimateRequest(
        spec=job_pb2.JobSpec(training=spec(base_model="models/mine")),
        model=trainer_service_pb2.ModelSource(name="models/mine", architecture="resnet18"),
    )
    assert not estimate(request, [CPU]).estimate.violations


def test_other_tasks_and_other_datasets_are_refused() -> None:
    adapter = training_pb2.TrainingSpec(base_model="sd15")
    adapter.text_to_image_lora.SetInParent()
    assert answer(adapter).reason == errors_pb2.ERROR_REASON_NOT_SUPPORTED
    jsonl = trainer_service_pb2.DatasetSource(format=dataset_pb2.DATASET_FORMAT_JSONL)
    assert fields(answer(spec(), jsonl).estimate.violations) == ["spec.dataset"]


def test_what_does_not_fit_is_refused_with_numbers_and_alternatives_that_fit() -> None:
    found = answer(spec(hyperparameters__batch_size=256), source({"a": 900, "b": 900}), (GPU,))
    assert found.reason == errors_pb2.ERROR_REASON_DOES_NOT_FIT
    assert not found.estimate.fits
    assert "GiB" in found.estimate.violations[0].description
    first = found.estimate.alternatives[0]
    batch = json.loads(first.changes["hyperparameters.batch_size"])
    assert batch * json.loads(first.changes["hyperparameters.gradient_accumulation_steps"]) == 256
    assert 0 < batch <= found.estimate.largest_batch_size
    assert all(offer.memory.device_bytes <= GPU.memory_total_bytes for offer in found.estimate.alternatives)


def test_frugal_settings_are_predicted_to_need_less() -> None:
    def need(**changes: Any) -> int:
        return answer(spec(**changes), devices=(GPU,)).estimate.memory.device_bytes

    usual = need()
    assert need(image_classifier__gradient_checkpointing=True) < usual
    assert need(image_classifier__freeze_backbone=True) < usual
    assert need(image_classifier__image_size=112) < usual
    assert need(hyperparameters__precision=training_pb2.PRECISION_FP32) > usual
    assert need(image_classifier__ema_decay=0.99) > usual


def test_few_images_of_a_class_are_varied_more_unless_said_otherwise() -> None:
    def magnitude(given: training_pb2.TrainingSpec, per_class: dict[str, int]) -> int:
        resolved = answer(given, source(per_class)).estimate.resolved_spec.training
        return resolved.image_classifier.augmentation.randaugment_magnitude

    assert FEW_SAMPLES == MIN_SAMPLES_PER_CLASS
    assert magnitude(spec(), {"a": 900, "b": 100}) == 0
    assert magnitude(spec(), {"a": 900, "b": 99}) > 0
    assert magnitude(spec(image_classifier__augmentation__randaugment_magnitude=0), {"a": 900, "b": 99}) == 0


def test_no_batch_is_larger_than_the_data() -> None:
    found = answer(spec(), source({"a": 20, "b": 20}), (GPU,)).estimate
    assert found.largest_batch_size == found.train_samples == 34


def test_a_forced_processor_is_judged_by_the_host() -> None:
    found = answer(spec(resources__force_cpu=True), devices=(GPU, CPU)).estimate
    assert found.memory.device_bytes == 0 and found.fits


def test_the_server_side_imports_no_torch() -> None:
    modules = "tuneyard.vision." + ", tuneyard.vision.".join(["catalogue", "config", "entry", "estimate"])
    program = f"import sys, {modules}; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
