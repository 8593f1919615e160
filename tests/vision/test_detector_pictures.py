import numpy as np
import pytest
from PIL import Image

from tuneyard.vision.detector_pictures import ShownBox, draw_boxes
from tuneyard.vision.lettering import font


@pytest.mark.parametrize("left", [5.0, 80.0])
def test_a_caption_stays_in_the_picture(left: float) -> None:
    box = ShownBox((left, 50.0, left + 15, 70.0), 0, "square: 80%")
    drawn = np.asarray(draw_boxes(Image.new("RGB", (100, 100)), [box]))
    written = drawn[38:49].any(axis=(0, 2))
    assert written.sum() >= font(10).getlength(box.caption) - 2


def test_a_caption_wider_than_the_picture_begins_at_its_edge() -> None:
    box = ShownBox((20.0, 20.0, 30.0, 30.0), 0, "a long name of a class")
    drawn = np.asarray(draw_boxes(Image.new("RGB", (40, 40)), [box]))
    assert drawn[10:18].any(axis=(0, 2)).all()
