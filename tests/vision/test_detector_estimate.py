import json
from typing import Any

import pytest

from tuneyard.v1 import dataset_pb2, errors_pb2, job_pb2, system_pb2, trainer_service_pb2, training_pb2
from tuneyard.vision.estimate import estimate

pytest.importorskip("ultralytics")


def device(gigabytes: int) -> system_pb2.Device:
    return system_pb2.Device(id="cuda:0", memory_total_bytes=gigabytes << 30)


def yolo(train: int, **splits: int) -> trainer_service_pb2.DatasetSource:
    report = dataset_pb2.ValidationReport(classes=["cat", "dog"], median_width=1000, median_height=800)
    for split, samples in {"train": train, **splits}.items():
        report.splits.add(split=split, samples=samples, samples_per_class={"cat": samples, "dog": samples})
    return trainer_service_pb2.DatasetSource(
        format=dataset_pb2.DATASET_FORMAT_YOLO, report=report, size_bytes=1000
    )


def answer(
    *,
    base_model: str = "yolov8n",
    dataset: trainer_service_pb2.DatasetSource | None = None,
    devices: tuple[system_pb2.Device, ...] = (device(12),),
    model: trainer_service_pb2.ModelSource | None = None,
    **hyper: Any,
) -> trainer_service_pb2.TrainerServiceEstimateResponse:
    given = training_pb2.TrainingSpec(dataset="datasets/d", base_model=base_model)
    given.object_detector.SetInParent()
    for name, value in hyper.items():
        message = given.object_detector if name in {"freeze_layers", "image_size"} else given.hyperparameters
        setattr(message, name, value)
    request = trainer_service_pb2.TrainerServiceEstimateRequest(
        spec=job_pb2.JobSpec(training=given), dataset=dataset, model=model
    )
    return estimate(request, devices)


@pytest.mark.parametrize("name", ["yolov8n", "yolov8n.pt", "YOLOv8n"])
def test_unset_fields_get_what_the_guide_recommends(name: str) -> None:
    found = answer(base_model=name, dataset=yolo(100, val=20)).estimate
    hyper, task = found.resolved_spec.training.hyperparameters, found.resolved_spec.training.object_detector
    assert (hyper.epochs, hyper.batch_size, task.image_size) == (100, 16, 640)
    assert found.total_steps == 100 * 7
    assert not found.violations and found.fits


def test_an_automatic_split_is_counted() -> None:
    found = answer(dataset=yolo(100), epochs=50).estimate
    assert (found.train_samples, found.validation_samples) == (85, 15)


def test_an_unknown_detector_names_those_that_are_close() -> None:
    found = answer(base_model="yolov8q")
    assert found.reason == errors_pb2.ERROR_REASON_UNKNOWN_BASE_MODEL
    assert "yolov8" in found.estimate.violations[0].description


def test_an_imported_detector_is_judged_by_its_architecture() -> None:
    model = trainer_service_pb2.ModelSource(name="models/mine", architecture="yolo11s")
    small = answer(base_model="models/mine", model=model).estimate
    assert not small.violations
    assert small.memory.device_bytes > answer().estimate.memory.device_bytes


def test_images_in_folders_are_no_detection_data() -> None:
    folder = trainer_service_pb2.DatasetSource(format=dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER)
    assert answer(dataset=folder).estimate.violations[0].field == "spec.dataset"


def test_not_all_layers_can_be_frozen() -> None:
    assert answer(freeze_layers=23).estimate.violations[0].field == "spec.object_detector.freeze_layers"
    frugal, usual = answer(freeze_layers=10).estimate.memory, answer().estimate.memory
    assert frugal.device_bytes < usual.device_bytes


def test_what_does_not_fit_is_refused_with_numbers_and_alternatives_that_fit() -> None:
    found = answer(base_model="yolov8x", batch_size=64, devices=(device(8),), dataset=yolo(500))
    assert found.reason == errors_pb2.ERROR_REASON_DOES_NOT_FIT
    assert "GiB" in found.estimate.violations[0].description
    first = found.estimate.alternatives[0]
    batch = json.loads(first.changes["hyperparameters.batch_size"])
    assert batch * json.loads(first.changes["hyperparameters.gradient_accumulation_steps"]) == 64
    assert all(offer.memory.device_bytes <= 8 << 30 for offer in found.estimate.alternatives)
