import pytest
import torch
from PIL import Image

from tuneyard.vision import detector_pictures, pictures
from tuneyard.vision.lettering import font, shown_names


def test_names_that_the_font_can_write_stay() -> None:
    names = ["cat", "grüne Ampel", "кошка", "γάτα", "n01440764 x-1"]
    assert shown_names(names) == names


@pytest.mark.parametrize("name", ["猫", "고양이", "แมว", "🐈 cat"])
def test_names_that_it_cannot_write_become_numbers(name: str) -> None:
    assert shown_names(["dog", name, "cow"]) == ["dog", "class 1", "cow"]


def test_accents_are_drawn() -> None:
    assert bytes(font(12).getmask("é")) != bytes(font(12).getmask("e"))


@pytest.mark.usefixtures("charts")
def test_charts_with_any_names_are_drawn_without_a_warning(tmp_path, recwarn) -> None:
    names = ["cat", "猫"]
    pictures.draw_confusion(tmp_path / "a.png", torch.eye(2), names)
    detector_pictures.draw_confusion(tmp_path / "b.png", torch.eye(3).numpy(), names)
    assert Image.open(tmp_path / "a.png").size[0] > 300 and (tmp_path / "b.png").exists()
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
