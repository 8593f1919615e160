"""Imported files: what is recognised, what is refused and why, and that nothing in them is ever run."""

import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from tuneyard.trainer.convert_child import Converted, ModelFiles
from tuneyard.trainer.errors import RecipeError
from tuneyard.vision import convert_classifier, networks
from tuneyard.vision.convert import convert
from tuneyard.vision.predictor import Classifier


@pytest.fixture
def files(tmp_path: Path) -> ModelFiles:
    """Empty folders for an import."""
    for name in ("source", "result"):
        (tmp_path / name).mkdir()
    return ModelFiles(source=tmp_path / "source", result=tmp_path / "result")


def network(architecture: str = "squeezenet1_1", classes: int = 7, image_size: int = 224) -> nn.Module:
    torch.manual_seed(0)
    return networks.build(architecture, classes=classes, image_size=image_size)


def with_architecture(files: ModelFiles, name: str) -> ModelFiles:
    return ModelFiles(source=files.source, result=files.result, architecture=name)


def refusal(files: ModelFiles) -> str:
    with pytest.raises(RecipeError) as failed:
        convert(files)
    assert failed.value.reason == "BASE_MODEL_UNAVAILABLE"
    assert list(files.result.iterdir()) == []
    return failed.value.message


class Trap:
    """Creates a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("architecture", ["squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_an_architecture_is_recognised_by_its_weights(files: ModelFiles, architecture: str) -> None:
    state = network(architecture).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, files.source / "w.safetensors")
    found = convert(files)
    assert found.architecture == architecture
    assert found.tasks == ("image_classifier",)
    assert "7 classes" in found.detail
    stored = load_file(files.result / "model.safetensors")
    assert all(torch.equal(stored[name], value) for name, value in state.items())


@pytest.mark.parametrize("architecture", ["regnet_y_400mf", "swin_t", "vit_b_32", "densenet121", "googlenet"])
def test_hard_cases_are_recognised_too(architecture: str) -> None:
    with convert_classifier._EmptyOnMeta():
        state = network(architecture).state_dict()
    fit = convert_classifier.recognise(state)
    assert (fit.architecture.name, fit.classes, fit.wrong) == (architecture, 7, 0)


@pytest.mark.parametrize("key", ["", "state_dict", "model"])
def test_what_torch_stored_is_taken_also_from_wrappers(files: ModelFiles, key: str) -> None:
    state = {f"module.{name}": value.half() for name, value in network().state_dict().items()}
    torch.save({key: state, "epoch": 3} if key else state, files.source / "best.pth")
    assert convert(files).architecture == "squeezenet1_1"
    assert {value.dtype for value in load_file(files.result / "model.safetensors").values()} == {
        torch.float32
    }


def test_a_converted_classifier_can_be_asked(files: ModelFiles, tmp_path: Path) -> None:
    torch.save(network().state_dict(), files.source / "w.pth")
    convert(files)
    picture = tmp_path / "p.png"
    Image.new("RGB", (40, 30), (200, 10, 10)).save(picture)
    assert len(Classifier.load(files.result).classify([picture])[0].ranking) == 5


def test_a_trained_models_own_files_keep_its_classes(files: ModelFiles) -> None:
    save_file(network(classes=2).state_dict(), files.source / "model.safetensors")
    (files.source / "config.json").write_text(
        json.dumps({"architecture": "squeezenet1_1", "classes": ["cat", "dog"]})
    )
    convert(files)
    assert json.loads((files.result / "config.json").read_text())["classes"] == ["cat", "dog"]


def test_a_missing_tensor_is_named(files: ModelFiles) -> None:
    state = network().state_dict()
    del state["features.3.squeeze.weight"]
    torch.save(state, files.source / "w.pth")
    told = refusal(files)
    assert "squeezenet1_1" in told
    assert "1 missing: features.3.squeeze.weight" in told


def test_the_closest_architecture_is_told_whatever_number_of_classes_would_explain_the_size() -> None:
    with convert_classifier._EmptyOnMeta():
        state = network("resnet18", classes=5).state_dict()
    del state["layer1.0.conv1.weight"]
    fit = convert_classifier.recognise(state)
    assert (fit.architecture.name, fit.missing, fit.wrong) == ("resnet18", ("layer1.0.conv1.weight",), 1)


@pytest.mark.parametrize("content", [b"garbage", b"\xff\xd8\xff\xe0 a picture", b""])
def test_what_torch_did_not_write_is_not_said_to_hold_code(files: ModelFiles, content: bytes) -> None:
    (files.source / "w.pt").write_bytes(content)
    assert "damaged, or no file of torch" in refusal(files)


def test_a_deeper_network_of_the_same_names_is_not_taken_for_a_shallower(files: ModelFiles) -> None:
    torch.save(network("resnet34").state_dict(), files.source / "w.pth")
    told = refusal(with_architecture(files, "resnet18"))
    assert "The weights are not those of resnet18" in told
    assert "unknown" in told


def test_an_unknown_architecture_and_broken_files_are_refused(files: ModelFiles) -> None:
    assert "no weights among the files" in refusal(files)
    (files.source / "w.safetensors").write_bytes(b"not safetensors at all")
    assert "damaged" in refusal(files)
    (files.source / "w.safetensors").unlink()
    torch.save(network().state_dict(), files.source / "w.pth")
    assert "There is no architecture 'resnet5000'" in refusal(with_architecture(files, "resnet5000"))


def test_weights_that_are_not_finite_are_refused(files: ModelFiles) -> None:
    state = network().state_dict()
    state["features.0.bias"][0] = float("nan")
    torch.save(state, files.source / "w.pth")
    assert "features.0.bias holds values that are not finite" in refusal(files)


@pytest.mark.parametrize("suffix", ["pth", "pt", "bin"])
def test_code_in_a_pickle_is_never_run(files: ModelFiles, tmp_path: Path, suffix: str) -> None:
    trap = tmp_path / "run"
    torch.save({"state_dict": network().state_dict(), "x": Trap(trap)}, files.source / f"evil.{suffix}")
    assert "could run code" in refusal(files)
    assert not trap.exists()


def test_a_bare_pickle_and_one_that_poses_as_ultralytics_are_not_run(
    files: ModelFiles, tmp_path: Path
) -> None:
    trap = tmp_path / "run"
    evil = files.source / "evil.pt"
    evil.write_bytes(pickle.dumps(Trap(trap)))
    refusal(files)
    torch.save({"model": Trap(trap), "note": "ultralytics.nn.tasks"}, evil)
    assert b"ultralytics" in zipfile.ZipFile(evil).read("evil/data.pkl")
    refusal(files)
    assert not trap.exists()


def transformers_vit(folder: Path, *, classes: int = 10) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=classes))
    for parameter in model.parameters():
        # Values of every tensor matter: fresh biases are zero and fresh norms one.
        nn.init.normal_(parameter, std=0.05)
    model.save_pretrained(folder)
    settings = {"image_mean": [0.5, 0.4, 0.6], "image_std": [0.5, 0.3, 0.4]}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return model.eval()  # type: ignore[no-any-return]


def test_a_vit_of_transformers_gives_equal_logits(files: ModelFiles) -> None:
    theirs = transformers_vit(files.source)
    found = convert(files)
    assert found.architecture == "vit_b_16"
    ours = network("vit_b_16", classes=10)
    ours.load_state_dict(load_file(files.result / "model.safetensors"))
    pixels = torch.rand(2, 3, 224, 224)

    def normalised(mean: list[float], std: list[float]) -> torch.Tensor:
        return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)

    settings = json.loads((files.result / "config.json").read_text())["preprocessing"]
    with torch.inference_mode():
        wanted = theirs(normalised([0.5, 0.4, 0.6], [0.5, 0.3, 0.4])).logits
        given = ours.eval()(normalised(settings["mean"], settings["std"]))
    assert (given - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_other_models_of_transformers_are_refused_by_name(files: ModelFiles) -> None:
    save_file({"bert.x": torch.ones(1)}, files.source / "model.safetensors")
    (files.source / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert "'bert'" in refusal(files)


def test_an_unreachable_hub_says_what_to_import(files: ModelFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    wanted = ModelFiles(source=files.source, result=files.result, hub_id="google/vit-base-patch16-224")
    with pytest.raises(RecipeError) as failed:
        convert(wanted)
    assert "google/vit-base-patch16-224 cannot be fetched" in failed.value.message
    assert "tuneyard models import FOLDER" in failed.value.remedies[0]


class TestDetectors:
    """Weights of ultralytics, from its checkpoints and bare."""

    @staticmethod
    def model(architecture: str = "yolov8n", classes: tuple[str, ...] = ("cat", "dog")) -> Any:
        pytest.importorskip("ultralytics")
        from tuneyard.vision import detector_model

        torch.manual_seed(0)
        return detector_model.build(architecture, classes)

    @staticmethod
    def convert(files: ModelFiles) -> Converted:
        from tuneyard.vision import detector_model

        found = convert(files)
        loaded = detector_model.load_detector(files.result)
        assert loaded.architecture == found.architecture
        assert found.tasks == ("object_detector",)
        return found

    def test_a_checkpoint_of_ultralytics_is_taken_with_its_classes(self, files: ModelFiles) -> None:
        model = self.model()
        torch.save({"model": model.half(), "ema": None, "epoch": 1}, files.source / "best.pt")
        assert self.convert(files).architecture == "yolov8n"
        assert json.loads((files.result / "config.json").read_text())["classes"] == ["cat", "dog"]

    def test_bare_weights_are_recognised(self, files: ModelFiles) -> None:
        state = self.model("yolo11n").state_dict()
        save_file({name: value.contiguous() for name, value in state.items()}, files.source / "w.safetensors")
        assert self.convert(files).architecture == "yolo11n"

    def test_weights_of_another_size_are_refused(self, files: ModelFiles) -> None:
        torch.save(self.model().state_dict(), files.source / "w.pth")
        assert "yolov8s" in refusal(with_architecture(files, "yolov8s.pt"))
        assert "There is no detector architecture" in refusal(with_architecture(files, "yolo99"))
