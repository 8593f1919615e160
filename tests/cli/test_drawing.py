import io

import pytest
from PIL import Image, ImageChops

from tuneyard.cli import drawing
from tuneyard.v1.inference_service_pb2 import Classification, Detection


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (200, 60), "white").save(file, "PNG")
    return file.getvalue()


def labelled(*labels: str) -> Image.Image:
    objects = [Detection(label=label, score=0.5, x_min=5, y_min=30, x_max=50, y_max=50) for label in labels]
    return drawing.draw_boxes(picture(), objects)


def written(text: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    texts: list[str] = []
    original = drawing._write
    with monkeypatch.context() as patch:
        patch.setattr(drawing, "_write", lambda pen, font, text, **at: texts.append(text))
        labelled("cat", text)
        drawing.draw_label(picture(), Classification(scores=[{"label": text, "score": 0.5}]))
    assert drawing._write is original
    return texts


def test_a_label_is_drawn_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert written("dog", monkeypatch) == ["dog: 0.50", "cat: 0.50", "dog: 0.50"]
    assert ImageChops.difference(labelled("cat"), labelled("dog")).getbbox() is not None


def test_a_label_that_no_font_can_write_is_a_place_in_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "_SYSTEM_FONTS", ("no such font.ttf",))
    assert written("猫", monkeypatch) == ["#2: 0.50", "cat: 0.50", "#1: 0.50"]
