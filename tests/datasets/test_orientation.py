import io

import pytest
from PIL import Image, ImageOps

from tests.support.exif import UNWRITABLE, exif
from tuneyard.datasets.orientation import orientation, upright

HALVES = Image.new("RGB", (4, 2))
HALVES.paste((255, 0, 0), (0, 0, 2, 2))
HALVES.putpixel((3, 1), (0, 0, 255))


def opened(data: bytes) -> Image.Image:
    """The picture with these EXIF data."""
    stream = io.BytesIO()
    HALVES.save(stream, "PNG", exif=data)
    return Image.open(stream)


@pytest.mark.parametrize("value", range(1, 9))
def test_an_image_is_turned_as_pillow_turns_it(value: int) -> None:
    image = opened(exif(value))
    assert orientation(image) == value
    assert upright(image).tobytes() == ImageOps.exif_transpose(image).tobytes()
    assert upright(image).size == ImageOps.exif_transpose(image).size


def test_what_else_a_camera_wrote_does_not_matter() -> None:
    image = opened(exif(6, beside=UNWRITABLE))
    with pytest.raises((TypeError, AttributeError, ValueError)):
        ImageOps.exif_transpose(image)
    assert upright(image).size == (2, 4)


@pytest.mark.parametrize("data", [b"Exif\0\0no table", b"Exif\0\0II*\0\xff", b"Exif\0\0"])
def test_an_image_whose_data_cannot_be_read_is_left_as_it_is(data: bytes) -> None:
    image = opened(data)
    assert (orientation(image), upright(image).size) == (1, (4, 2))


@pytest.mark.parametrize("value", [0, 9, 70000])
def test_an_orientation_that_there_is_not_counts_as_upright(value: int) -> None:
    assert orientation(opened(exif(value))) == 1
