from typing import Any

import pytest
import torch
from torchvision import models

from tests.support.scripts import load_script
from tuneyard.vision import networks
from tuneyard.vision.architectures import COLUMNS, architectures, to_row

HOW = "run `python scripts/generate_architectures.py`"


def test_the_table_has_every_classification_architecture_of_torchvision() -> None:
    assert list(architectures()) == models.list_models(module=models), HOW


def test_weights_per_class_are_those_of_the_head() -> None:
    model = networks.build("mobilenet_v3_small", classes=7, image_size=32)
    expected = sum(parameter.numel() for parameter in model.parameters())
    assert architectures()["mobilenet_v3_small"].parameters_for(7) == expected


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "vit_b_16"])
def test_the_table_is_what_torchvision_has(name: str) -> None:
    assert_current(name)


# It takes minutes, and only another release of torchvision can break it; a few rows are tested each time.
@pytest.mark.soak
@pytest.mark.timeout(600)
def test_the_whole_table_is_what_torchvision_has() -> None:
    for name in models.list_models(module=models):
        assert_current(name)


@pytest.mark.integration
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", models.list_models(module=models))
def test_every_architecture_takes_another_head(name: str) -> None:
    script = load_script("generate_architectures")
    size = max(64, architectures()[name].minimum_size, architectures()[name].size_multiple)
    size = -(-size // architectures()[name].size_multiple) * architectures()[name].size_multiple
    with script.no_initialisation():
        model = networks.build(name, classes=7, image_size=size, dropout=0.3).to("meta").train()
    assert networks.head_dropout(model) in (0.0, 0.3)
    assert model(torch.empty(2, 3, size, size, device="meta")).shape == (2, 7)
    networks.freeze_backbone(model)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trained == 7 * architectures()[name].parameters_per_class


def assert_current(name: str) -> None:
    script: Any = load_script("generate_architectures")
    measured, listed = to_row(script.row(name)), to_row(architectures()[name])
    assert {
        column: (measured[column], listed[column]) for column in COLUMNS if measured[column] != listed[column]
    } == {}, HOW
