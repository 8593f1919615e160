"""Images as a VAE takes them."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tuneyard.diffusion.buckets import Bucket
from tuneyard.diffusion.pixels import Framing, draw_framing, file_sha256, open_upright, read_pixels, to_image
from tuneyard.trainer.errors import RecipeError

SQUARE = Bucket(32, 32)


def ramp(width: int, height: int) -> Image.Image:
    """Redder to the right, greener to the bottom."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.zeros_like(x)], axis=-1).astype(np.uint8))


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    ramp(128, 64).save(tmp_path / "wide.png")
    return tmp_path / "wide.png"


def test_an_image_covers_its_bucket_and_is_cropped_in_the_middle(wide: Path) -> None:
    framed = read_pixels(wide, Framing(SQUARE))
    assert framed.pixels.shape == (3, 32, 32) and framed.pixels.dtype == torch.float32
    assert (framed.original_size, framed.crop_top_left) == ((64, 128), (0, 16))
    assert framed.pixels[0].mean().abs() < 0.01 and framed.pixels[0].min() > -0.6


def test_pixels_reach_from_minus_one_to_one(wide: Path) -> None:
    pixels = read_pixels(wide, Framing(Bucket(128, 64))).pixels
    assert pixels.min() == -1 and pixels.max() == 1
    assert np.array_equal(np.asarray(to_image(pixels)), np.asarray(ramp(128, 64)))


def test_a_crop_lies_where_its_framing_says(wide: Path) -> None:
    left, right = (read_pixels(wide, Framing(SQUARE, across=across)) for across in (0.0, 1.0))
    assert (left.crop_top_left, right.crop_top_left) == ((0, 0), (0, 32))
    assert left.pixels[0].max() <= 0.05 <= right.pixels[0].mean()


def test_a_flip_mirrors_the_middle(wide: Path) -> None:
    plain, flipped = (read_pixels(wide, Framing(SQUARE, flip=flip)).pixels for flip in (False, True))
    assert torch.allclose(plain.flip(2), flipped, atol=0.01) and not torch.equal(plain, flipped)


def test_a_small_image_is_enlarged(tmp_path: Path) -> None:
    ramp(10, 7).save(tmp_path / "small.png")
    assert read_pixels(tmp_path / "small.png", Framing(Bucket(64, 40))).pixels.shape == (3, 40, 64)


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    ramp(40, 20).save(tmp_path / "turned.png", exif=exif)
    assert open_upright(tmp_path / "turned.png").size == (20, 40)


def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (8, 8), (200, 0, 0, 0))
    image.paste((0, 0, 200, 255), (0, 0, 4, 8))
    image.save(tmp_path / "icon.png")
    image.convert("P").save(tmp_path / "icon.gif", transparency=image.convert("P").getpixel((7, 7)))
    for name in ("icon.png", "icon.gif"):
        opened = open_upright(tmp_path / name)
        assert opened.mode == "RGB" and opened.getpixel((7, 0)) == (255, 255, 255)
        assert opened.getpixel((0, 0)) != (255, 255, 255)


def test_deep_grey_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 32768, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert open_upright(tmp_path / "deep.png").getpixel((0, 0)) == (127, 127, 127)


def test_what_cannot_be_decoded_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    with pytest.raises(RecipeError, match=r"broken\.png") as error:
        open_upright(tmp_path / "broken.png")
    assert error.value.reason == "DATASET_UNREADABLE"


def test_framings_are_drawn_as_often_as_asked() -> None:
    draws = torch.Generator().manual_seed(0)
    framings = [
        draw_framing(SQUARE, horizontal_flip=0.25, random_crop=True, generator=draws) for _ in range(400)
    ]
    assert sum(framing.flip for framing in framings) == pytest.approx(100, abs=25)
    assert len({framing.across for framing in framings}) > 390
    plain = draw_framing(SQUARE, horizontal_flip=0, random_crop=False, generator=draws)
    assert plain == Framing(SQUARE)


def test_framings_that_show_the_same_have_one_key() -> None:
    keys = {Framing(SQUARE).key, Framing(SQUARE, 0.5, 0.5).key, Framing(SQUARE, flip=True).key}
    assert len(keys | {Framing(Bucket(32, 40)).key, Framing(SQUARE, 0.2).key}) == 4


def test_a_file_is_known_by_its_bytes(wide: Path) -> None:
    assert file_sha256(wide) == hashlib.sha256(wide.read_bytes()).hexdigest()
