import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.vision import export_detector
from tuneyard.vision.detector_model import build, load_detector, load_ultralytics_checkpoint, save_detector
from tuneyard.vision.export_config import ExportConfig
from tuneyard.vision.export_detector import export

CLASSES = ("circle", "square", "it's a triangle")


def exporting_run(tmp_path: Path, files: Any, *, architecture: str = "yolov8n") -> FakeRun:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    torch.manual_seed(3)
    model = build(architecture, CLASSES)
    # Statistics of batch norm that are not those of a fresh layer, as after training.
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    save_detector(folder, model, architecture=architecture, classes=CLASSES, image_size=64)
    return FakeRun(root=tmp_path / "export", training_files=files, source_files=folder)


@pytest.fixture
def exporting(tmp_path: Path, shapes: Any) -> FakeRun:
    return exporting_run(tmp_path, shapes())


Exported = Callable[..., FakeRun]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, shapes_at: Any) -> Exported:
    """A run that exported to a format, made once: nobody writes into it."""

    @cache
    def made(format: str, architecture: str = "yolov8n") -> FakeRun:
        root = tmp_path_factory.mktemp(format)
        run = exporting_run(root, shapes_at(root)(), architecture=architecture)
        export(config(format), run)
        return run

    return made


def config(format: Any, dataset: str = "datasets/d") -> ExportConfig:
    return ExportConfig(source_job="jobs/1", format=format, dataset=dataset)


def manifest(run: FakeRun) -> Any:
    return json.loads(run.artifacts["manifest.json"].path.read_text())


def original(run: FakeRun, images: torch.Tensor) -> Any:
    with torch.no_grad():
        return load_detector(run.source_artifacts()).model(images)[0].numpy()


@pytest.mark.parametrize("architecture", ["yolov8n", "yolo11n"])
def test_onnx_computes_the_same_for_any_batch_size(exported: Exported, architecture: str) -> None:
    run = exported("onnx", architecture)
    assert run.artifacts.keys() == {"model.onnx", "config.json", "manifest.json"}
    session = onnxruntime.InferenceSession(run.artifacts["model.onnx"].path)
    for size in (1, 3):
        images = torch.rand(size, 3, 64, 64)
        [found] = session.run(None, {"images": images.numpy()})
        np.testing.assert_allclose(found, original(run, images), atol=1e-2, rtol=1e-3)
    told = manifest(run)["check"]
    assert told["input_source"] == "images of datasets/d" and told["inputs"] == 4
    assert told["max_abs_difference"] <= told["tolerance"] < 1e-2


def test_torchscript_computes_the_same(exported: Exported) -> None:
    run = exported("torchscript")
    script = torch.jit.load(str(run.artifacts["model.torchscript"].path))
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        np.testing.assert_allclose(script(images).numpy(), original(run, images), atol=1e-2, rtol=1e-3)


def test_safetensors_are_the_same_model_to_the_bit(exporting: FakeRun) -> None:
    result = export(config("safetensors"), exporting)
    assert result.metrics == {"export/max_abs_difference": 0.0}
    before = load_detector(exporting.source_artifacts()).model.state_dict()
    again = load_detector(exporting.artifacts["model.safetensors"].path.parent).model.state_dict()
    assert all(torch.equal(again[name], value) for name, value in before.items())


def test_a_checkpoint_for_ultralytics_is_loaded_safely_and_whole(exporting: FakeRun) -> None:
    export(config("ultralytics"), exporting)
    loaded = load_ultralytics_checkpoint(exporting.artifacts["model.pt"].path.rename(exporting.root / "m.pt"))
    assert (loaded.classes, loaded.architecture) == (CLASSES, "yolov8n")
    before = load_detector(exporting.source_artifacts()).model.state_dict()
    assert all(torch.equal(loaded.weights[name], value.float()) for name, value in before.items())


@pytest.mark.parametrize(
    ("format", "file"),
    [("onnx", "model.onnx"), ("torchscript", "model.torchscript"), ("ultralytics", "model.pt")],
)
def test_ultralytics_opens_what_is_exported(
    exported: Exported, tmp_path: Path, format: str, file: str
) -> None:
    run = exported(format)
    from ultralytics import YOLO  # behind the module under test, which makes it silent and offline

    path = tmp_path / file
    path.write_bytes((run.root / "artifacts" / file).read_bytes())
    [found] = YOLO(path, task="detect").predict(
        np.zeros((64, 64, 3), np.uint8), imgsz=64, conf=0.0001, device="cpu", verbose=False
    )
    assert found.names == dict(enumerate(CLASSES))
    assert found.boxes is not None and len(found.boxes) > 0


def test_ultralytics_opens_a_folder_of_openvino(exporting: FakeRun) -> None:
    export(config("openvino"), exporting)
    assert exporting.artifacts.keys() == {
        "model.xml",
        "model.bin",
        "metadata.yaml",
        "config.json",
        "manifest.json",
    }
    from ultralytics import YOLO  # as above

    folder = exporting.root / "shapes_openvino_model"
    folder.mkdir()
    for name in ("model.xml", "model.bin", "metadata.yaml"):
        (folder / name).write_bytes(exporting.artifacts[name].path.read_bytes())
    [found] = YOLO(folder, task="detect").predict(
        np.zeros((64, 64, 3), np.uint8), imgsz=64, conf=0.0001, device="cpu", verbose=False
    )
    assert found.names == dict(enumerate(CLASSES))
    assert found.boxes is not None and len(found.boxes) > 0


def test_without_the_dataset_generated_inputs_are_compared(exporting: FakeRun) -> None:
    export(config("safetensors", dataset=""), exporting)
    assert "generated" in manifest(exporting)["check"]["input_source"]


def test_a_model_that_computes_something_else_is_not_stored(
    exporting: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = export_detector.check

    def off_by_a_little(before: Any, converted: Any, inputs: Any, *, format: str) -> Any:
        return real(before, lambda images: converted(images) + 1e-3, inputs, format=format)

    monkeypatch.setattr(export_detector, "check", off_by_a_little)
    with pytest.raises(RecipeError, match="differs from the original"):
        export(config("torchscript"), exporting)
    assert not exporting.artifacts


@pytest.mark.parametrize("stop", list(Stop))
def test_a_stop_ends_an_export_and_leaves_nothing(exporting: FakeRun, stop: Stop) -> None:
    exporting.request_stop(stop)
    with pytest.raises(Stopped):
        export(config("onnx"), exporting)
    assert not exporting.artifacts
