from tuneyard.vision import detector_pixels
from tuneyard.vision.detector_splits import make_splits


def test_the_disk_has_room_for_every_image_before_the_first_is_decoded(
    shapes, configure_detector, start, monkeypatch
) -> None:
    files = shapes()
    run, decode, reserved = start(files), detector_pixels.decode, []

    def decode_and_look(file, shape):
        [array] = run.cache_dir.rglob("pixels.bin")
        reserved.append(512 * array.stat().st_blocks >= array.stat().st_size)
        return decode(file, shape)

    monkeypatch.setattr(detector_pixels, "decode", decode_and_look)
    split = make_splits(files, None, configure_detector()).train
    detector_pixels.scaled_images(split, image_size=64, workers=1, run=run)
    assert len(reserved) == len(split)
    assert all(reserved)
