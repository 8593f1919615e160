import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.exif import UNWRITABLE, exif
from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.vision import detector_pixels, pixels
from tuneyard.vision.splits import make_splits


def load(files, configure, run, side=16):
    splits = make_splits(files, None, configure())
    return pixels.load_pixels([splits.train, splits.validation], side=side, workers=2, run=run)


def test_pixels_are_those_of_the_files(draw, configure, start) -> None:
    files = draw()
    train, _ = load(files, configure, start(files))
    path = files.dir / make_splits(files, None, configure()).train.paths[3]
    expected = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)
    assert torch.equal(train.images(torch.tensor([3]))[0], expected)
    assert train.images(torch.tensor([0, 1])).is_contiguous(memory_format=torch.channels_last)


def test_a_second_job_decodes_nothing(draw, configure, start, monkeypatch) -> None:
    files = draw()
    first, _ = load(files, configure, start(files))
    monkeypatch.setattr(pixels, "decode", None)
    second, _ = load(files, configure, start(files, attempt=2))
    assert torch.equal(first.data, second.data)


def test_the_disk_has_room_for_every_image_before_the_first_is_decoded(
    draw, configure, start, monkeypatch
) -> None:
    files = draw()
    run, decode, reserved = start(files), pixels.decode, []

    def decode_and_look(file, *, side):
        [array] = run.cache_dir.rglob("pixels.npy")
        reserved.append(512 * array.stat().st_blocks >= array.stat().st_size)
        return decode(file, side=side)

    monkeypatch.setattr(pixels, "decode", decode_and_look)
    load(files, configure, run, side=64)
    assert reserved and all(reserved)


def test_another_size_is_another_array(draw, configure, start) -> None:
    files = draw()
    run = start(files)
    assert load(files, configure, run)[0].side == 16
    assert load(files, configure, run, side=24)[0].side == 24


def test_decoding_stops_when_it_is_asked_to(draw, configure, start) -> None:
    files = draw()
    with pytest.raises(Stopped):
        load(files, configure, start(files, stop=Stop.CANCEL))


def test_a_broken_image_is_named(draw, configure, start) -> None:
    files = draw()
    (files.dir / "train/class_0/000.png").write_bytes(b"no image")
    with pytest.raises(RecipeError, match=r"000\.png") as failed:
        load(files, configure, start(files))
    assert failed.value.reason == "DATASET_UNREADABLE"


def test_what_a_camera_wrote_beside_a_picture_spoils_no_training(tmp_path) -> None:
    picture = Image.new("RGB", (30, 20))
    picture.paste((255, 255, 255), (0, 0, 30, 10))
    picture.save(tmp_path / "odd.jpg", exif=exif(6, beside=UNWRITABLE))
    left, right = pixels.decode(tmp_path / "odd.jpg", side=10)[5, [1, 8], 0]
    assert (left < 50, right > 200) == (True, True)
    shown = detector_pixels.decode(tmp_path / "odd.jpg", (30, 20))
    assert (shown[15, 2, 0] < 50, shown[15, 17, 0] > 200) == (True, True)


def test_wide_images_are_cropped_in_the_middle(tmp_path) -> None:
    picture = np.zeros((10, 30, 3), np.uint8)
    picture[:, 10:20] = 255
    Image.fromarray(picture).save(tmp_path / "wide.png")
    assert pixels.decode(tmp_path / "wide.png", side=10).min() == 255


def test_photographs_are_turned_upright(tmp_path) -> None:
    picture = Image.fromarray(np.tile(np.array([0, 255], np.uint8).repeat(8), (16, 1)))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    picture.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    decoded = pixels.decode(tmp_path / "turned.jpg", side=16)
    assert decoded[8, 2].mean() > 200
    assert decoded[8, 13].mean() < 50


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    deep = Image.fromarray(np.array([[0, 32768], [49152, 65535]], np.uint16))
    file = io.BytesIO()
    deep.save(file, "PNG")
    assert pixels.decode(file, side=2)[:, :, 0].ravel().tolist() == pytest.approx([0, 127, 191, 255], abs=1)


def test_images_are_stored_no_larger_than_they_are_needed(draw, configure) -> None:
    small, large = draw("small", side=16), draw("large", side=40)
    of = lambda files: make_splits(files, None, configure()).train  # noqa: E731
    assert pixels.stored_side(of(small), image_size=28, crops=True) == 28
    assert pixels.stored_side(of(large), image_size=28, crops=True) == 32
    assert pixels.stored_side(of(large), image_size=28, crops=False) == 28
