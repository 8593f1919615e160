from typing import Any

import pytest

from tuneyard.v1 import dataset_pb2, errors_pb2, job_pb2, trainer_service_pb2, training_pb2
from tuneyard.vision.derived import estimate

IMAGES, YOLO = dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER, dataset_pb2.DATASET_FORMAT_YOLO


def trained(task: str = "image_classifier") -> job_pb2.JobSpec:
    training = training_pb2.TrainingSpec(dataset="datasets/own", base_model="resnet18")
    getattr(training, task).SetInParent()
    return job_pb2.JobSpec(training=training)


def source(
    name: str = "datasets/own",
    *,
    classes: tuple[str, ...] = ("cat", "dog"),
    layout: "dataset_pb2.DatasetFormat.ValueType" = IMAGES,
    **splits: int,
) -> trainer_service_pb2.DatasetSource:
    report = dataset_pb2.ValidationReport(classes=classes)
    for split, samples in (splits or {"train": 10}).items():
        report.splits.add(split=split, samples=samples)
    return trainer_service_pb2.DatasetSource(name=name, format=layout, report=report, size_bytes=100)


def evaluated(
    measured_on: trainer_service_pb2.DatasetSource, task: str = "image_classifier", **spec: Any
) -> Any:
    own = source(layout=IMAGES if task == "image_classifier" else YOLO)
    request = trainer_service_pb2.TrainerServiceEstimateRequest(
        spec=job_pb2.JobSpec(evaluate=job_pb2.EvaluateSpec(source_job="jobs/1", **spec)),
        dataset=measured_on,
        source_dataset=own,
        source_spec=trained(task),
    )
    return estimate(request)


def exported(format: str, task: str = "image_classifier") -> Any:
    spec = job_pb2.ExportSpec(
        source_job="jobs/1", format=job_pb2.ExportFormat.Value(f"EXPORT_FORMAT_{format.upper()}")
    )
    request = trainer_service_pb2.TrainerServiceEstimateRequest(
        spec=job_pb2.JobSpec(export=spec), source_spec=trained(task)
    )
    return estimate(request)


def split_of(found: Any) -> tuple[str, str]:
    spec = found.estimate.resolved_spec.evaluate
    return spec.dataset, spec.split


def test_the_test_split_is_measured_where_there_is_one_else_validation() -> None:
    assert split_of(evaluated(source(train=9, val=2, test=3))) == ("datasets/own", "test")
    assert split_of(evaluated(source(train=9, val=2))) == ("datasets/own", "val")
    assert split_of(evaluated(source(train=9))) == ("datasets/own", "val")
    assert split_of(evaluated(source(train=9, test=0))) == ("datasets/own", "val")


def test_another_dataset_without_splits_is_measured_as_a_whole() -> None:
    other = source("datasets/new", train=9)
    assert split_of(evaluated(other, dataset="datasets/new")) == ("datasets/new", "train")


def test_a_split_that_is_not_there_is_a_violation_that_names_those_which_are() -> None:
    (found,) = evaluated(source(train=9, val=2), split="test").estimate.violations
    assert found.field == "spec.split" and "val, train" in found.description
    (found,) = evaluated(source("datasets/new"), dataset="datasets/new", split="val").estimate.violations
    assert found.field == "spec.split"


def test_classes_that_the_model_does_not_know_are_a_violation() -> None:
    other = source("datasets/new", classes=("cat", "cow"))
    answer = evaluated(other, dataset="datasets/new")
    (found,) = answer.estimate.violations
    assert found.field == "spec.dataset" and "'cow'" in found.description and "'dog'" in found.description
    assert answer.reason == errors_pb2.ERROR_REASON_INVALID_FIELD


def test_fewer_classes_than_the_model_knows_are_enough() -> None:
    other = source("datasets/new", classes=("dog",))
    assert not evaluated(other, dataset="datasets/new").estimate.violations


@pytest.mark.parametrize(("task", "layout"), [("image_classifier", YOLO), ("object_detector", IMAGES)])
def test_a_dataset_of_another_layout_is_a_violation(task: str, layout: Any) -> None:
    (found,) = evaluated(source(layout=layout), task).estimate.violations
    assert found.field == "spec.dataset" and "yolo" in found.description.lower()


def test_the_base_is_compared_unless_that_is_not_wanted() -> None:
    assert evaluated(source()).estimate.resolved_spec.evaluate.compare_with_base
    without = evaluated(source(), compare_with_base=False).estimate.resolved_spec.evaluate
    assert without.HasField("compare_with_base") and not without.compare_with_base


def test_what_was_resolved_is_resolved_to_itself() -> None:
    first = evaluated(source(train=9, test=3)).estimate.resolved_spec.evaluate
    request = trainer_service_pb2.TrainerServiceEstimateRequest(
        spec=job_pb2.JobSpec(evaluate=first), dataset=source(train=9, test=3), source_spec=trained()
    )
    assert estimate(request).estimate.resolved_spec.evaluate == first


@pytest.mark.parametrize("format", ["safetensors", "onnx", "openvino", "torchscript"])
@pytest.mark.parametrize("task", ["image_classifier", "object_detector"])
def test_both_tasks_export_to_what_needs_no_accelerator(format: str, task: str) -> None:
    found = exported(format, task).estimate
    assert found.resolved_spec.export.source_job == "jobs/1" and found.fits and not found.violations


@pytest.mark.parametrize("format", ["adapter", "kohya", "ultralytics"])
def test_what_a_classifier_cannot_become_is_refused_with_a_reason(format: str) -> None:
    answer = exported(format)
    (found,) = answer.estimate.violations
    assert answer.reason == errors_pb2.ERROR_REASON_NOT_SUPPORTED
    assert found.field == "spec.format"
    assert "Offered: safetensors, onnx, openvino, torchscript." in found.description


def test_only_detectors_become_checkpoints_of_ultralytics() -> None:
    assert not exported("ultralytics", "object_detector").estimate.violations


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_a_format_is_refused_where_its_packages_are_missing(
    monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (found,) = exported(format).estimate.violations
    assert format in found.description and "tuneyard[export]" in found.description


def test_a_job_that_trained_nothing_and_a_merge_are_refused() -> None:
    evaluation = job_pb2.JobSpec(evaluate=job_pb2.EvaluateSpec(source_job="jobs/1"))
    merge = job_pb2.JobSpec(merge=job_pb2.MergeSpec(source_job="jobs/1"))
    for spec, from_spec in ((evaluation, evaluation), (merge, trained())):
        request = trainer_service_pb2.TrainerServiceEstimateRequest(spec=spec, source_spec=from_spec)
        answer = estimate(request)
        assert answer.reason == errors_pb2.ERROR_REASON_NOT_SUPPORTED
        assert [found.field for found in answer.estimate.violations] == ["spec.source_job"]
