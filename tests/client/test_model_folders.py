"""Which family a folder or file is for, and what of it is sent, by a table that also tests the web UI."""

import json
from pathlib import Path
from typing import Any

import pytest

import tests.support
from tuneyard.client.model_folders import NoModel, family_of
from tuneyard.client.models import NEEDED
from tuneyard.v1 import training_pb2

CASES = json.loads((Path(tests.support.__file__).parent / "model_folders.json").read_text())
FAULTS = {
    "gguf": "GGUF is for running",
    "adapter": "this is an adapter",
    "nothing": "no model in this folder",
    "untrainable": "trained by no family",
}


def checkpoint(path: Path, name: str) -> Path:
    header = json.dumps({name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return path


def laid(tmp_path: Path, case: dict[str, Any]) -> Path:
    """A case's files; the one file, or the folder with them."""
    for name, content in case["files"].items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if content == "checkpoint":
            checkpoint(path, "model.diffusion_model.input_blocks.0.0.weight")
        else:
            path.write_text("x" if content == "weights" else json.dumps(content))
    return tmp_path / case.get("file", "")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["tells"])
def test_a_case_of_the_table_is_told_as_the_web_ui_tells_it(tmp_path: Path, case: dict[str, Any]) -> None:
    given = laid(tmp_path, case)
    if fault := case.get("fault"):
        with pytest.raises(NoModel, match=FAULTS[fault]):
            family_of(given)
        return
    family = family_of(given)
    assert training_pb2.Family.Name(family) == case["family"]
    needed = NEEDED.get(family, lambda folder, path: True)
    files = [path for path in given.rglob("*") if path.is_file()]
    left = [path.relative_to(given).as_posix() for path in files if not needed(given, path)]
    assert sorted(left) == case["left"]


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


def test_a_damaged_checkpoint_is_left_to_the_trainer(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\xff" * 64)
    assert family_of(path) == training_pb2.FAMILY_VISION
