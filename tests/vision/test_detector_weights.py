from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.vision import detector_weights
from tuneyard.vision.detector import train
from tuneyard.vision.detector_model import build, class_branch, save_detector
from tuneyard.vision.detector_weights import initial_detector

CLASSES = ("circle", "square", "triangle")
OTHERS = (*(f"thing {number}" for number in range(79)), "square")
STEM = "model.0.conv.weight"


def stored(folder: Path, architecture: str = "yolov8n") -> dict[str, torch.Tensor]:
    folder.mkdir()
    model = build(architecture, OTHERS)
    save_detector(folder, model, architecture=architecture, classes=OTHERS, image_size=640)
    return model.state_dict()


def test_imported_weights_are_used_and_named(shapes, configure_detector, start, tmp_path) -> None:
    weights = stored(tmp_path / "model")
    run = start(shapes(), base_model_files=tmp_path / "model")
    config = configure_detector(pretrained=True, base_model="models/mine")
    model, source = initial_detector(config, CLASSES, run=run)
    assert source == "models/mine"
    assert torch.equal(model.state_dict()[STEM], weights[STEM])
    assert class_branch(model.state_dict()) == (3, 80)


def test_a_checkpoint_of_ultralytics_is_used_as_it_is(shapes, configure_detector, start, tmp_path) -> None:
    (tmp_path / "model").mkdir()
    source = build("yolov8n", OTHERS)
    torch.save({"model": source}, tmp_path / "model" / "yolov8n.pt")
    run = start(shapes(), base_model_files=tmp_path / "model")
    model, _ = initial_detector(configure_detector(pretrained=True), CLASSES, run=run)
    assert torch.equal(model.state_dict()[STEM], source.state_dict()[STEM])


def test_a_training_from_weights_for_other_classes_resumes_with_their_width(
    shapes, configure_detector, start, tmp_path
) -> None:
    stored(tmp_path / "model")
    first = start(shapes(), base_model_files=tmp_path / "model", stop=Stop.PAUSE, stop_after=1)
    with pytest.raises(Stopped):
        train(configure_detector(pretrained=True), first)
    second = first.resumed()
    train(configure_detector(pretrained=True), second)
    stored_weights = load_file(second.artifacts["model.safetensors"].path)
    assert class_branch(stored_weights) == (3, 80)


def test_weights_of_another_architecture_are_refused(shapes, configure_detector, start, tmp_path) -> None:
    stored(tmp_path / "model", "yolo11n")
    run = start(shapes(), base_model_files=tmp_path / "model")
    with pytest.raises(RecipeError, match="not those of yolov8n") as failed:
        initial_detector(configure_detector(pretrained=True), CLASSES, run=run)
    assert failed.value.reason == "BASE_MODEL_UNAVAILABLE"


def test_pretrained_is_never_silently_random(shapes, configure_detector, start, monkeypatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(detector_weights, "attempt_download_asset", unreachable)
    with pytest.raises(RecipeError) as failed:
        train(configure_detector(pretrained=True), start(shapes()))
    assert failed.value.reason == "BASE_MODEL_UNAVAILABLE"
    assert any("tuneyard models import" in remedy for remedy in failed.value.remedies)
    assert any("pretrained" in remedy for remedy in failed.value.remedies)


def test_published_weights_are_fetched_once(shapes, configure_detector, start, monkeypatch, tmp_path) -> None:
    fetched: list[Path] = []

    def fetch(path: Path, **_: object) -> None:
        fetched.append(path)
        torch.save({"model": build("yolov8n", OTHERS).half()}, path)

    monkeypatch.setattr(detector_weights, "attempt_download_asset", fetch)
    run = start(shapes())
    for _ in range(2):
        _, source = initial_detector(configure_detector(pretrained=True), CLASSES, run=run)
    assert source == "ultralytics yolov8n.pt"
    assert [path.name for path in fetched] == ["yolov8n.pt"]
