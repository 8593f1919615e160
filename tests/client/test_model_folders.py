"""Which family a folder or file is for, and what of a text-to-image model's folder is sent."""

import json
from pathlib import Path

import pytest

from tuneyard.client.model_folders import NoModel, family_of, is_needed_of_pipeline
from tuneyard.v1 import training_pb2


def checkpoint(path: Path, name: str) -> Path:
    header = json.dumps({name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return path


def test_a_folder_of_diffusers_is_for_the_diffusion_trainer(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    assert family_of(tmp_path) == training_pb2.FAMILY_DIFFUSION


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("model.diffusion_model.input_blocks.0.0.weight", training_pb2.FAMILY_DIFFUSION),
        ("fc.weight", training_pb2.FAMILY_VISION),
    ],
)
def test_a_checkpoint_is_known_by_the_names_in_its_header(tmp_path: Path, name: str, family: int) -> None:
    path = checkpoint(tmp_path / "folder" / "model.safetensors", name)
    assert family_of(path) == family
    assert family_of(path.parent) == family


def test_a_clip_model_is_for_the_diffusion_trainer(tmp_path: Path) -> None:
    config = {"model_type": "clip", "architectures": ["CLIPModel"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert family_of(tmp_path) == training_pb2.FAMILY_DIFFUSION


def test_a_folder_without_a_model_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(NoModel, match="no model in this folder"):
        family_of(tmp_path)


def test_a_damaged_checkpoint_is_left_to_the_trainer(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\xff" * 64)
    assert family_of(path) == training_pb2.FAMILY_VISION


def test_other_forms_of_a_pipelines_weights_stay_behind(tmp_path: Path) -> None:
    stem = "unet/diffusion_pytorch_model"
    sent = ["model_index.json", "unet/config.json", f"{stem}.safetensors", "vae/model.fp16.safetensors"]
    left = [f"{stem}.bin", f"{stem}.fp16.safetensors", "unet/flax.msgpack", "v1-5-pruned.safetensors"]
    for name in (*sent, *left):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    found = [str(path.relative_to(tmp_path)) for path in files if is_needed_of_pipeline(tmp_path, path)]
    assert sorted(found) == sorted(sent)
