from pathlib import PurePath

import pytest

from tuneyard.llm.folder_files import media_type, weight_files

SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
PICKLES = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
SHARDED = ["model.safetensors.index.json", *SHARDS]
PICKLED = ["pytorch_model.bin.index.json", *PICKLES]


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        (["model.safetensors", *SHARDED, *PICKLED], ["model.safetensors"]),
        ([*PICKLED, "pytorch_model.bin", *SHARDED], SHARDED),
        ([*PICKLED, "pytorch_model.bin"], ["pytorch_model.bin"]),
        ([*PICKLED, "training_args.bin"], PICKLED),
        (["consolidated.safetensors", "model.gguf"], []),
    ],
)
def test_the_safest_form_of_the_weights_is_taken_whole(there: list[str], wanted: list[str]) -> None:
    assert weight_files(there) == wanted


def test_a_file_is_told_by_its_name() -> None:
    names = ["config.json", "README.md", "chat_template.jinja", "model.safetensors"]
    assert [media_type(PurePath(name)) for name in names] == [
        "application/json",
        "text/markdown",
        "text/plain",
        "application/octet-stream",
    ]
