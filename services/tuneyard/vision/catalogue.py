"""What vision jobs can start from: torchvision's classifiers and ultralytics' detectors. Imports no torch."""

import functools
from collections.abc import Iterator
from dataclasses import replace

from tuneyard.v1 import model_service_pb2, training_pb2
from tuneyard.vision import classifier_plan, detector_architectures, detector_plan, detector_recommended
from tuneyard.vision.architectures import RECOMMENDED, Architecture, architectures
from tuneyard.vision.detector_sizes import DetectorSize, detector_sizes
from tuneyard.vision.memory import Workload
from tuneyard.vision.recommended import recommended_spec
from tuneyard.vision.weight_places import WeightPlaces

CLASSIFIER_MEMORY = (4 << 30, 8 << 30)
DETECTOR_MEMORY = (8 << 30, 12 << 30)
"""The guide's rows: memory of the smallest sensible device and of the recommended one: the least named."""
_USABLE_SHARE = 0.9
_SMALL_BATCH = 8
"""The least that the guide calls usual."""

_DESCRIPTIONS = {
    "resnet50": "A good balance of speed and accuracy; the recommended start.",
    "resnet18": "Small and quick; good for first tries and for processors without an accelerator.",
    "mobilenet_v3_small": "Very small; for devices with little memory.",
    "efficientnet_b0": "Accurate for its size; slower to train than its size suggests.",
    "vit_b_16": "A vision transformer; strong with pretrained weights, weak without.",
    "convnext_tiny": "A modern convolutional network, about as accurate as a transformer.",
    "yolov8n": "Fast, and good for most cases; the recommended start.",
    "yolo11n": "Newer than YOLOv8 and a little smaller, about as fast.",
    "yolo26n": "The newest family, in its smallest size.",
}
_TORCHVISION_LICENSE = (
    "BSD-3-Clause (torchvision); the weights were trained on ImageNet, whose terms are for research."
)
_ULTRALYTICS_LICENSE = "AGPL-3.0 (ultralytics), the weights as well as the library."


def base_models(places: WeightPlaces | None = None) -> list[model_service_pb2.BaseModel]:
    """The catalogue, the recommended ones first; `places` tells where the weights are."""
    models = []
    for known in _known():
        model = model_service_pb2.BaseModel()
        model.CopyFrom(known)
        if places:
            model.availability = places.availability(model.id)
        models.append(model)
    return models


@functools.cache
def _known() -> tuple[model_service_pb2.BaseModel, ...]:
    found = [*map(_classifier, architectures().values()), *map(_detector, detector_sizes().values())]
    return tuple(sorted(found, key=lambda model: (not model.is_recommended, model.tasks[0])))


def _classifier(architecture: Architecture) -> model_service_pb2.BaseModel:
    name = architecture.name
    recommended = recommended_spec(name)
    work = classifier_plan.workload(recommended, architecture, 1000)
    minimum, wanted = _memory(work, *CLASSIFIER_MEMORY)
    size = f"{architecture.parameters / 1e6:.1f} M weights"
    return model_service_pb2.BaseModel(
        id=name,
        display_name=name,
        family=training_pb2.FAMILY_VISION,
        tasks=[training_pb2.TASK_KIND_IMAGE_CLASSIFIER],
        description=_DESCRIPTIONS.get(name, f"torchvision's {name}, {size}."),
        parameter_count=architecture.parameters,
        minimum_memory_bytes=minimum,
        recommended_memory_bytes=wanted,
        recommended=recommended,
        is_recommended=name == RECOMMENDED,
        availability=model_service_pb2.AVAILABILITY_FETCHABLE,
        revision=architecture.weights,
        license=_TORCHVISION_LICENSE,
    )


def _detector(size: DetectorSize) -> model_service_pb2.BaseModel:
    recommended = detector_recommended.recommended_spec(size.name)
    minimum, wanted = _memory(detector_plan.workload(recommended, size), *DETECTOR_MEMORY)
    weights = f"{size.parameters / 1e6:.1f} M weights"
    return model_service_pb2.BaseModel(
        id=size.name,
        display_name=size.name,
        family=training_pb2.FAMILY_VISION,
        tasks=[training_pb2.TASK_KIND_OBJECT_DETECTOR],
        description=_DESCRIPTIONS.get(size.name, f"ultralytics' {size.name}, {weights}."),
        parameter_count=size.parameters,
        minimum_memory_bytes=minimum,
        recommended_memory_bytes=wanted,
        recommended=recommended,
        is_recommended=size.name == detector_architectures.RECOMMENDED,
        availability=model_service_pb2.AVAILABILITY_FETCHABLE,
        license=_ULTRALYTICS_LICENSE,
    )


def _memory(work: Workload, least_minimum: int, least_recommended: int) -> Iterator[int]:
    """Of the devices for a small batch and for the recommended one, both at 16 bits as on accelerators."""
    half = replace(work, half_precision=True)
    for batch, least in (
        (min(_SMALL_BATCH, work.batch_size), least_minimum),
        (work.batch_size, least_recommended),
    ):
        need = replace(half, batch_size=batch).device_bytes()
        yield max(least, round(need / _USABLE_SHARE))
