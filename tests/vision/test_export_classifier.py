import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch

from tests.support.full_disk import no_file_beyond
from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.vision import export_classifier
from tuneyard.vision.classifier import train
from tuneyard.vision.export_check import CheckInputs, check
from tuneyard.vision.export_classifier import export
from tuneyard.vision.export_config import ExportConfig
from tuneyard.vision.predictor import Classifier
from tuneyard.vision.stored_classifier import load_stored


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, draw_at, configure) -> FakeRun:
    """A run that trained a small classifier; nobody writes into it."""
    root = tmp_path_factory.mktemp("trained")
    run = FakeRun(root=root / "run", training_files=draw_at(root)(splits=(), side=40), cpu_threads=1)
    train(configure(architecture="resnet18", max_steps=1), run)
    return run


def exporting_to(root: Path, trained: FakeRun) -> FakeRun:
    files = trained.training_files
    return FakeRun(root=root, training_files=files, source_files=trained.root / "artifacts")


@pytest.fixture
def exporting(tmp_path: Path, trained: FakeRun) -> FakeRun:
    """A run that exports the classifier."""
    return exporting_to(tmp_path / "export", trained)


@pytest.fixture(scope="module")
def as_onnx(tmp_path_factory: pytest.TempPathFactory, trained: FakeRun) -> FakeRun:
    """One that did, as ONNX; nobody writes into it."""
    run = exporting_to(tmp_path_factory.mktemp("onnx"), trained)
    export(config("onnx"), run)
    return run


def config(format: Any, dataset: str = "datasets/d") -> ExportConfig:
    return ExportConfig(source_job="jobs/1", format=format, dataset=dataset)


def manifest(run: FakeRun) -> Any:
    return json.loads(run.artifacts["manifest.json"].path.read_text())


def artifacts(run: FakeRun) -> set[str]:
    return set(run.artifacts)


def test_safetensors_are_the_same_model_to_the_bit(exporting: FakeRun) -> None:
    result = export(config("safetensors"), exporting)
    assert artifacts(exporting) == {"model.safetensors", "config.json", "manifest.json"}
    assert result.metrics == {"export/max_abs_difference": 0.0}
    again = Classifier.load(exporting.artifacts["model.safetensors"].path.parent)
    assert again.classes == ("class_0", "class_1", "class_2")


def test_onnx_computes_the_same_for_any_batch_size(as_onnx: FakeRun) -> None:
    assert artifacts(as_onnx) == {"model.onnx", "config.json", "manifest.json"}
    session = onnxruntime.InferenceSession(as_onnx.artifacts["model.onnx"].path)
    stored = load_stored(as_onnx.source_artifacts())
    for size in (1, 3, 7):
        images = torch.randn(size, 3, 32, 32)
        [found] = session.run(["logits"], {"images": images.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(found, stored.model(images).numpy(), atol=1e-4)


def test_openvino_computes_the_same_for_any_batch_size_and_knows_its_classes(exporting: FakeRun) -> None:
    export(config("openvino"), exporting)
    assert artifacts(exporting) == {"model.xml", "model.bin", "config.json", "manifest.json"}
    model = openvino.Core().read_model(exporting.artifacts["model.xml"].path)
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    stored = load_stored(exporting.source_artifacts())
    for size in (1, 3):
        images = torch.randn(size, 3, 32, 32)
        with torch.no_grad():
            expected = stored.model(images).numpy()
        np.testing.assert_allclose(compiled(images.numpy())[0], expected, atol=1e-4)
    assert json.loads(model.get_rt_info(["tuneyard", "classes"]).astype(str)) == list(stored.classes)
    assert manifest(exporting)["check"]["batch_sizes"] == [1, 8]


def test_the_manifest_tells_how_the_outputs_were_compared(as_onnx: FakeRun) -> None:
    told = manifest(as_onnx)
    assert told["check"]["max_abs_difference"] <= told["check"]["tolerance"] <= 1e-3
    assert (told["check"]["inputs"], told["check"]["input_source"]) == (8, "images of datasets/d")
    assert told["check"]["batch_sizes"] == [1, 8]
    assert (told["format"], told["opset"], told["source_job"]) == ("onnx", 20, "jobs/1")


def test_an_onnx_file_knows_its_classes_and_preprocessing(as_onnx: FakeRun) -> None:
    model = onnx.load(as_onnx.artifacts["model.onnx"].path)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(facts["classes"]) == ["class_0", "class_1", "class_2"]
    assert json.loads(facts["preprocessing"])["center_crop"] == 32
    assert facts["architecture"] == "resnet18"


def test_torchscript_computes_the_same_without_this_package(exporting: FakeRun) -> None:
    export(config("torchscript"), exporting)
    script = torch.jit.load(str(exporting.artifacts["model.torchscript.pt"].path))
    stored, images = load_stored(exporting.source_artifacts()), torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(script(images), stored.model(images))


def test_without_the_dataset_generated_inputs_are_compared(exporting: FakeRun) -> None:
    export(config("safetensors", dataset=""), exporting)
    assert "generated" in manifest(exporting)["check"]["input_source"]


def test_a_dataset_that_cannot_be_had_does_not_hinder(exporting: FakeRun, monkeypatch: Any) -> None:
    def gone() -> None:
        raise RecipeError("gone", reason="DATASET_UNREADABLE")

    monkeypatch.setattr(exporting, "dataset", gone, raising=False)
    export(config("safetensors"), exporting)
    assert "generated" in manifest(exporting)["check"]["input_source"]


@pytest.mark.parametrize("format", ["onnx", "torchscript"])
def test_a_model_that_computes_something_else_is_not_stored(
    exporting: FakeRun, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    real = export_classifier.check

    def off_by_a_little(original: Any, converted: Any, inputs: CheckInputs, *, format: str) -> Any:
        return real(original, lambda images: converted(images) + 1e-2, inputs, format=format)

    monkeypatch.setattr(export_classifier, "check", off_by_a_little)
    with pytest.raises(RecipeError, match=r"differs from the original by 1\.00e-02"):
        export(config(format), exporting)
    assert not exporting.artifacts


def test_other_shapes_and_values_that_are_no_numbers_are_differences() -> None:
    inputs = CheckInputs(torch.ones(2, 3, 4, 4), "ones")
    for wrong in (lambda x: x[:, 0], lambda x: x / 0 * 0):
        with pytest.raises(RecipeError, match="not those of the original"):
            check(lambda x: x, wrong, inputs, format="ONNX")


def test_what_a_converter_cannot_follow_is_told_in_a_sentence(
    exporting: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(*_: Any) -> None:
        raise RuntimeError("data-dependent branch\nand a long trace")

    monkeypatch.setattr(torch.jit, "trace", raising)
    with pytest.raises(RecipeError) as caught:
        export(config("torchscript"), exporting)
    assert caught.value.reason == "NOT_SUPPORTED"
    assert caught.value.message.endswith("to TorchScript: RuntimeError: data-dependent branch")


@pytest.mark.parametrize("stop", list(Stop))
def test_a_stop_ends_an_export_and_leaves_nothing(exporting: FakeRun, stop: Stop) -> None:
    exporting.request_stop(stop)
    with pytest.raises(Stopped):
        export(config("safetensors"), exporting)
    assert not exporting.artifacts


@pytest.mark.parametrize("format", ["safetensors", "onnx", "torchscript"])
def test_a_full_disk_is_told_as_such_and_nothing_is_stored(exporting: FakeRun, format: str) -> None:
    with no_file_beyond(1 << 20), pytest.raises(RecipeError) as caught:
        export(config(format), exporting)
    assert caught.value.reason == "STORAGE_FULL"
    assert not exporting.artifacts
