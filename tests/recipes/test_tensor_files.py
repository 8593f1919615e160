from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tuneyard.recipes.tensor_files import save_described

TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(3, dtype=torch.bfloat16)}
WORDS = {f"key {number}": f'"Größe" 猫\n\x01/{number}' for number in range(12)} | {"format": "pt"}


def test_the_same_tensors_and_words_make_the_same_file(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.safetensors" for number in range(4)]
    for path in paths:
        save_described(TENSORS, path, metadata=WORDS)
    assert len({path.read_bytes() for path in paths}) == 1


def test_a_described_file_is_read_as_any_other(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_described(TENSORS, path, metadata=WORDS)
    found = load_file(path)
    assert found.keys() == TENSORS.keys() and all(torch.equal(found[key], TENSORS[key]) for key in found)
    with safe_open(path, "pt") as file:
        assert file.metadata() == WORDS
