import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.full_disk import no_file_beyond
from tuneyard.recipes.checkpoint_state import (
    is_finite,
    load_training_state,
    save_tensors,
    save_training_state,
)
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.transfers import disk_full_is_told


@pytest.fixture
def model() -> nn.Module:
    made = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    made[0].weight.requires_grad_(False)
    return made


def spoil(tensor: torch.Tensor) -> None:
    with torch.no_grad():
        tensor.view(-1)[2] = math.nan


def test_numbers_are_finite(model) -> None:
    assert is_finite(model)


def test_a_trained_weight_or_a_buffer_that_is_no_number_is_seen(model) -> None:
    for tensor in (model[0].bias, model[1].running_var):
        kept = tensor.clone()
        spoil(tensor)
        assert not is_finite(model)
        with torch.no_grad():
            tensor.copy_(kept)


def test_what_is_frozen_is_not_looked_at(model) -> None:
    spoil(model[0].weight)
    assert is_finite(model)


def test_a_model_without_anything_trained_is_finite() -> None:
    assert is_finite(nn.Linear(2, 2).requires_grad_(False))


def anonymous_mib() -> int:
    """What this process has in memory beside files."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) >> 10


def test_a_training_state_takes_no_memory_until_it_is_copied(tmp_path: Path) -> None:
    torch.save({"version": 3, "optimizer": torch.ones(64 << 18)}, tmp_path / "training.pt")
    before = anonymous_mib()
    state = load_training_state(tmp_path / "training.pt", version=3)
    assert state["optimizer"].sum() == 64 << 18
    assert anonymous_mib() - before < 32


@pytest.mark.parametrize("damage", [b"", b"no archive at all", None])
def test_a_damaged_training_state_is_told(tmp_path: Path, damage: bytes | None) -> None:
    path = tmp_path / "training.pt"
    torch.save({"version": 3, "optimizer": torch.ones(1 << 12)}, path)
    path.write_bytes(path.read_bytes()[:5000] if damage is None else damage)
    with pytest.raises(RecipeError) as refused:
        load_training_state(path, version=3)
    assert refused.value.reason == "CHECKPOINT_CORRUPT"


def test_a_checkpoint_that_finds_no_room_is_told_as_a_full_disk(tmp_path: Path) -> None:
    values: dict[str, Any] = {"version": 3, "moments": torch.ones(1 << 18)}

    def writes_state() -> None:
        save_training_state(values, tmp_path / "training.pt")

    def writes_tensors() -> None:
        save_tensors({"weight": values["moments"]}, tmp_path / "model.safetensors")

    for write in (writes_state, writes_tensors):
        with no_file_beyond(1 << 16), pytest.raises(RecipeError) as caught, disk_full_is_told():
            write()
        assert caught.value.reason == "STORAGE_FULL"
