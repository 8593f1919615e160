import pytest

from tuneyard.client import image_batches
from tuneyard.client.inference import MAX_BATCH_BYTES, MAX_IMAGE_BYTES
from tuneyard.v1.inference_service_pb2 import ClassifyRequest, ImageInput


def image(size_bytes: int = 10, name: str = "a.png") -> ImageInput:
    return ImageInput(name=name, content=bytes(size_bytes))


def test_no_batch_has_more_images_than_a_call_may_have() -> None:
    assert [len(batch) for batch in image_batches([image()] * 130)] == [64, 64, 2]


def test_no_batch_has_more_bytes_than_a_server_takes() -> None:
    batches = list(image_batches([image(10 << 20)] * 7))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert all(ClassifyRequest(images=batch).ByteSize() < 32 << 20 for batch in batches)


def test_the_largest_image_has_a_batch_of_its_own() -> None:
    assert MAX_IMAGE_BYTES < MAX_BATCH_BYTES
    images = [image(1 << 20), image(MAX_IMAGE_BYTES), image(1 << 20)]
    assert [len(batch) for batch in image_batches(images)] == [1, 1, 1]


def test_an_image_too_large_is_named() -> None:
    with pytest.raises(ValueError, match=r"scan\.tif: an image of 31\.0 MiB is too large"):
        list(image_batches([image(MAX_IMAGE_BYTES + 1, "scan.tif")]))


def test_images_are_asked_for_as_they_are_needed() -> None:
    asked = []

    def images():
        for number in range(100):
            asked.append(number)
            yield image()

    next(image_batches(images()))
    assert len(asked) == 65


def test_without_images_there_are_no_batches() -> None:
    assert list(image_batches([])) == []
