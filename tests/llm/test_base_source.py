import hashlib
import json
import shutil

import pytest
from huggingface_hub import constants

from tuneyard.gateway.model_files import StoredModel
from tuneyard.llm.base_source import find_base
from tuneyard.trainer.base_identity import files_sha256
from tuneyard.v1 import event_pb2


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    """Looking for a base puts the process offline for good; a test's does not."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", constants.HF_HUB_OFFLINE)


def test_a_base_from_the_store_is_known_by_its_files(upload, start, configure, tiny_base) -> None:
    found = find_base(configure(), start(upload()))
    assert found.folder == tiny_base and found.dtype == "float32"
    assert (found.identity.id, found.identity.sha256) == ("models/tiny", files_sha256(tiny_base))
    assert constants.HF_HUB_OFFLINE is True


def test_the_hash_is_the_one_that_the_store_gives_to_these_files(tiny_base) -> None:
    files = [
        event_pb2.StoredFile(path=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        for path in tiny_base.iterdir()
    ]
    assert files_sha256(tiny_base) == StoredModel(tuple(files)).sha256


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        ({"dtype": "bfloat16"}, "bfloat16"),
        ({"torch_dtype": "float16"}, "float16"),
        ({"torch_dtype": "float64"}, "float32"),
        ({}, "float32"),
    ],
)
def test_the_number_format_is_that_of_config_json(
    upload, start, configure, tiny_base, tmp_path, config, dtype
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(tiny_base, folder)
    (folder / "config.json").write_text(json.dumps(config))
    assert find_base(configure(), start(upload(), base_model_files=folder)).dtype == dtype
