from dataclasses import replace
from pathlib import Path

import pytest

from tuneyard.v1 import model_service_pb2, system_pb2, trainer_service_pb2, training_pb2
from tuneyard.vision.architectures import architectures
from tuneyard.vision.catalogue import CLASSIFIER_MEMORY, DETECTOR_MEMORY, base_models
from tuneyard.vision.config import classifier_config
from tuneyard.vision.detector_architectures import DETECTOR_ARCHITECTURES
from tuneyard.vision.detector_config import detector_config
from tuneyard.vision.estimate import estimate
from tuneyard.vision.weight_places import WeightPlaces

CLASSIFIER, DETECTOR = training_pb2.TASK_KIND_IMAGE_CLASSIFIER, training_pb2.TASK_KIND_OBJECT_DETECTOR


def of_task(task: int) -> list[model_service_pb2.BaseModel]:
    return [model for model in base_models() if list(model.tasks) == [task]]


def test_one_model_of_each_task_is_recommended_and_comes_first() -> None:
    models = base_models()
    assert [model.id for model in models if model.is_recommended] == ["resnet50", "yolov8n"]
    assert [model.id for model in models[:2]] == ["resnet50", "yolov8n"]


def test_every_known_architecture_is_listed() -> None:
    assert {model.id for model in of_task(CLASSIFIER)} == set(architectures())
    assert {model.id for model in of_task(DETECTOR)} == set(DETECTOR_ARCHITECTURES)


def test_every_entry_says_what_it_is_and_needs() -> None:
    for model in base_models():
        assert model.family == training_pb2.FAMILY_VISION
        assert 0 < model.minimum_memory_bytes <= model.recommended_memory_bytes
        assert model.parameter_count and model.description and model.license


def test_recommended_settings_are_a_config_of_their_own() -> None:
    for model in base_models():
        request = trainer_service_pb2.StartRunRequest()
        request.spec.training.CopyFrom(model.recommended)
        if DETECTOR in model.tasks:
            detector = detector_config(request)
            assert (detector.architecture, detector.epochs, detector.batch_size) == (model.id, 100, 16)
        else:
            config = classifier_config(request)
            assert (config.architecture, config.epochs, config.batch_size) == (model.id, 15, 16)


@pytest.mark.parametrize(
    ("task", "rows", "usual_batch"), [(CLASSIFIER, CLASSIFIER_MEMORY, 32), (DETECTOR, DETECTOR_MEMORY, 16)]
)
def test_the_guides_hardware_rows_hold_for_the_recommended_model(
    task: int, rows: tuple[int, int], usual_batch: int
) -> None:
    recommended = of_task(task)[0]
    assert (recommended.minimum_memory_bytes, recommended.recommended_memory_bytes) == rows
    for memory, batch in zip(rows, (8, usual_batch), strict=True):
        request = trainer_service_pb2.TrainerServiceEstimateRequest()
        request.spec.training.CopyFrom(recommended.recommended)
        request.spec.training.hyperparameters.batch_size = batch
        found = estimate(request, [system_pb2.Device(id="cuda:0", memory_total_bytes=memory)]).estimate
        assert found.fits
        assert found.largest_batch_size >= batch


@pytest.fixture
def places(tmp_path: Path) -> WeightPlaces:
    return WeightPlaces.of({"TORCH_HOME": str(tmp_path)}, trainer_cache=tmp_path / "cache", offline=False)


def availability(places: WeightPlaces, name: str) -> int:
    return next(model.availability for model in base_models(places) if model.id == name)


def test_weights_that_are_here_need_no_network(places: WeightPlaces) -> None:
    assert availability(places, "resnet18") == model_service_pb2.AVAILABILITY_FETCHABLE
    places.torch_hub.mkdir(parents=True)
    (places.torch_hub / architectures()["resnet18"].weights_file).touch()
    assert availability(places, "resnet18") == model_service_pb2.AVAILABILITY_CACHED
    offline = replace(places, offline=True)
    assert availability(offline, "resnet18") == model_service_pb2.AVAILABILITY_CACHED
    assert availability(offline, "resnet34") == model_service_pb2.AVAILABILITY_IMPORT_NEEDED


@pytest.mark.parametrize(
    ("name", "task"), [("resnet34", "image_classifier"), ("yolov8n.pt", "object_detector")]
)
def test_offline_a_job_is_told_at_once_what_to_import(places: WeightPlaces, name: str, task: str) -> None:
    request = trainer_service_pb2.TrainerServiceEstimateRequest()
    request.spec.training.base_model = name
    getattr(request.spec.training, task).SetInParent()
    assert not estimate(request, [], places=places).estimate.violations
    found = estimate(request, [], places=replace(places, offline=True))
    assert "tuneyard models import" in found.estimate.violations[0].description
    getattr(request.spec.training, task).pretrained = False
    assert not estimate(request, [], places=replace(places, offline=True)).estimate.violations
