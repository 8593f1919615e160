"""Predictions beside real trainings: a handful of what `python -m tests.benchmarks.estimate` prints."""

import pytest

from tests.benchmarks.estimate import CONFIGURATIONS, MEMORY_BOUND, Configuration, compare

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

HANDFUL = ("resnet18 224 px x 16 fp32", "mobilenet_v3_small 224 px x 32 fp32", "yolov8n 320 px x 8 fp32")


@pytest.mark.parametrize(
    "configuration", [each for each in CONFIGURATIONS if each.name in HANDFUL], ids=lambda each: each.name
)
def test_the_predicted_memory_is_near_the_measured_peak(configuration: Configuration) -> None:
    if configuration.architecture.startswith("yolo"):
        pytest.importorskip("ultralytics")
    compared = compare(configuration)
    assert abs(compared.memory_error) <= MEMORY_BOUND, compared
    assert compared.measured.step_seconds > 0
    assert compared.predicted_seconds > 0
