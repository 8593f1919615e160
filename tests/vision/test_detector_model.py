import os

import pytest
import torch
from PIL import Image

from tuneyard.trainer.errors import RecipeError
from tuneyard.vision import detector_model
from tuneyard.vision.detector_architectures import DETECTOR_ARCHITECTURES, architecture_name
from tuneyard.vision.detector_predictor import Detector, place

SMALLEST = ("yolov8n", "yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n")
CLASSES = ("cat", "dog")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("yolov8n", "yolov8n"),
        ("yolov8n.pt", "yolov8n"),
        ("YOLOv8x.yaml", "yolov8x"),
        ("yolov11s", "yolo11s"),
        ("yolov8n-seg", None),
        ("../yolov8n", None),
        ("resnet50", None),
    ],
)
def test_the_usual_spellings_name_one_architecture(written: str, meant: str | None) -> None:
    assert architecture_name(written) == meant


def test_every_architecture_has_a_description_in_the_package() -> None:
    models = detector_model.ROOT / "cfg" / "models"
    assert all((models / known.file).is_file() for known in DETECTOR_ARCHITECTURES.values())


@pytest.mark.parametrize("architecture", SMALLEST)
def test_a_stored_detector_is_loaded_with_equal_weights(architecture: str, tmp_path) -> None:
    model = detector_model.build(architecture, CLASSES)
    detector_model.save_detector(tmp_path, model, architecture=architecture, classes=CLASSES, image_size=64)
    loaded = detector_model.load_detector(tmp_path)
    assert (loaded.architecture, loaded.classes, loaded.image_size) == (architecture, CLASSES, 64)
    assert not loaded.model.training
    found = loaded.model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())


def test_weights_for_other_classes_are_adopted_and_kept_in_a_stored_model(tmp_path) -> None:
    names = ("zebra", "cat", *(f"thing {number}" for number in range(78)))
    source = detector_model.build("yolov8n", names)
    model = detector_model.build("yolov8n", CLASSES)
    detector_model.adopt(model, "yolov8n", source.state_dict(), names)
    head, before = "model.22.cv3.0.2.weight", source.state_dict()
    assert detector_model.class_branch(model.state_dict()) == (2, 80)
    assert torch.equal(model.state_dict()[head][0], before[head][1])
    assert torch.equal(model.state_dict()["model.0.conv.weight"], before["model.0.conv.weight"])
    detector_model.save_detector(tmp_path, model, architecture="yolov8n", classes=CLASSES, image_size=64)
    assert torch.equal(
        detector_model.load_detector(tmp_path).model.state_dict()[head], model.state_dict()[head]
    )


def test_weights_of_another_architecture_are_refused_with_what_does_not_fit() -> None:
    weights = detector_model.build("yolov8n", CLASSES).state_dict()
    with pytest.raises(ValueError, match="not those of yolo11n: they lack model"):
        detector_model.with_weights("yolo11n", CLASSES, weights)
    with pytest.raises(ValueError, match="another shape of model"):
        detector_model.with_weights("yolov8s", CLASSES, weights)


def test_a_checkpoint_of_ultralytics_is_read(tmp_path) -> None:
    model = detector_model.build("yolo11n", CLASSES)
    torch.save({"ema": model.half(), "model": None, "epoch": -1}, tmp_path / "best.pt")
    found = detector_model.load_ultralytics_checkpoint(tmp_path / "best.pt")
    assert (found.architecture, found.classes) == ("yolo11n", CLASSES)
    assert all(value.dtype == torch.float32 for value in found.weights.values() if value.is_floating_point())
    detector_model.with_weights("yolo11n", found.classes, found.weights)


class Malicious:
    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.mark,)


@pytest.mark.parametrize("key", ["ema", "model", "other"])
def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(key: str, tmp_path) -> None:
    torch.save({key: Malicious(str(tmp_path / "ran"))}, tmp_path / "evil.pt")
    with pytest.raises(RecipeError) as failed:
        detector_model.load_ultralytics_checkpoint(tmp_path / "evil.pt")
    assert failed.value.reason == "BASE_MODEL_UNAVAILABLE"
    assert not (tmp_path / "ran").exists()
    assert str(tmp_path) not in failed.value.message


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 broken"])
def test_other_files_are_refused(content: bytes, tmp_path) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(RecipeError, match="cannot be loaded safely"):
        detector_model.load_ultralytics_checkpoint(tmp_path / "x.pt")


def test_a_folder_without_a_detector_is_refused(tmp_path) -> None:
    with pytest.raises(RecipeError, match="cannot be loaded"):
        detector_model.load_detector(tmp_path)


def test_images_are_placed_in_the_middle_of_the_smallest_batch_that_holds_them() -> None:
    import numpy as np

    batch, placements = place([np.zeros((50, 100, 3), np.uint8), np.zeros((200, 120, 3), np.uint8)], 64)
    assert batch.shape == (2, 64, 64, 3)
    assert (placements[0].scale, placements[0].left, placements[0].top) == (0.64, 0, 16)
    assert (batch[0, 15] == 114).all() and (batch[0, 16] == 0).all()


def test_an_image_that_lies_on_its_side_is_turned_upright_before_it_is_looked_at(tmp_path) -> None:
    model = detector_model.build("yolov8n", CLASSES)
    detector_model.save_detector(tmp_path, model, architecture="yolov8n", classes=CLASSES, image_size=64)
    image = Image.new("RGB", (80, 40))
    image.getexif()[0x0112] = 6
    boxes = Detector.load(tmp_path).detect([image], min_score=0.0)[0]
    assert max(box.x_max for box in boxes) <= 40 < max(box.y_max for box in boxes) <= 80
