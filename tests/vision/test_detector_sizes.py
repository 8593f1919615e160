import itertools
from typing import Any

import pytest

from tests.support.scripts import load_script
from tuneyard.vision.detector_architectures import DETECTOR_ARCHITECTURES
from tuneyard.vision.detector_sizes import detector_sizes, to_row

HOW = "run `python scripts/generate_detector_sizes.py`"


def test_the_table_has_every_detector_in_their_order() -> None:
    assert list(detector_sizes()) == list(DETECTOR_ARCHITECTURES), HOW


def test_larger_sizes_of_a_family_weigh_and_compute_more() -> None:
    family = [detector_sizes()[f"yolov8{size}"] for size in "nsmlx"]
    for smaller, larger in itertools.pairwise(family):
        assert smaller.parameters < larger.parameters
        assert smaller.activation_bytes < larger.activation_bytes
        assert smaller.multiply_adds_at(320) < larger.multiply_adds_at(320)


@pytest.mark.parametrize("name", ["yolov8n", "yolo26n"])
def test_the_table_is_that_of_the_installed_library(name: str) -> None:
    pytest.importorskip("ultralytics")
    generate: Any = load_script("generate_detector_sizes")
    assert to_row(generate.row(name)) == to_row(detector_sizes()[name]), HOW
