"""What an image classifier can start from: every classification architecture of torchvision. No torch."""

from dataclasses import replace

from tuneyard.v1 import model_service_pb2, training_pb2
from tuneyard.vision.architectures import RECOMMENDED, Architecture, architectures
from tuneyard.vision.memory import Workload
from tuneyard.vision.recommended import recommended_spec

_DESCRIPTIONS = {
    "resnet50": "A good balance of speed and accuracy; the recommended start.",
    "resnet18": "Small and quick; good for first tries and for processors without an accelerator.",
    "mobilenet_v3_small": "Very small; for devices with little memory.",
    "efficientnet_b0": "Accurate for its size; slower to train than its size suggests.",
    "vit_b_16": "A vision transformer; strong with pretrained weights, weak without.",
    "convnext_tiny": "A modern convolutional network, about as accurate as a transformer.",
}
_LICENSE = "BSD-3-Clause (torchvision); the weights were trained on ImageNet, whose terms are for research."


def base_models() -> list[model_service_pb2.BaseModel]:
    """The catalogue, the recommended one first."""
    ordered = sorted(architectures().values(), key=lambda item: (item.name != RECOMMENDED, item.name))
    return [_base_model(architecture) for architecture in ordered]


def _base_model(architecture: Architecture) -> model_service_pb2.BaseModel:
    name = architecture.name
    recommended = recommended_spec(name)
    workload = Workload(
        architecture=architecture,
        classes=1000,
        image_size=recommended.image_classifier.image_size,
        batch_size=recommended.hyperparameters.batch_size,
        adamw=True,
        half_precision=True,
        frozen_backbone=False,
        gradient_checkpointing=False,
        average=False,
    )
    size = f"{architecture.parameters / 1e6:.1f} M weights"
    return model_service_pb2.BaseModel(
        id=name,
        display_name=name,
        family=training_pb2.FAMILY_VISION,
        tasks=[training_pb2.TASK_KIND_IMAGE_CLASSIFIER],
        description=_DESCRIPTIONS.get(name, f"torchvision's {name}, {size}."),
        parameter_count=architecture.parameters,
        minimum_memory_bytes=replace(workload, batch_size=1).device_bytes(),
        recommended_memory_bytes=workload.device_bytes(),
        recommended=recommended,
        is_recommended=name == RECOMMENDED,
        availability=model_service_pb2.AVAILABILITY_FETCHABLE,
        revision=architecture.weights,
        license=_LICENSE,
    )
