"""Loading base models: what is refused, and in which number format weights arrive."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.tiny_llm import tiny_model
from tuneyard.llm.base_model import load_base, load_model, load_tokenizer
from tuneyard.llm.config import LanguageModelConfig
from tuneyard.llm.precision import Precision
from tuneyard.llm.tokenizer_files import save_tokenizer
from tuneyard.trainer.errors import RecipeError

Configure = Callable[..., LanguageModelConfig]
CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "base", vocab=512, hidden=32)


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("method", "precision", "dtype"),
    [
        ("full", "bf16", torch.float32),
        ("lora", "bf16", torch.bfloat16),
        ("lora", "fp16", torch.float16),
        ("lora", "fp32", torch.float32),
    ],
)
def test_a_frozen_base_is_held_in_the_precision_and_a_trained_one_in_fp32(
    folder: Path, configure: Configure, method: str, precision: Precision, dtype: torch.dtype
) -> None:
    model = load_base(folder, configure(method), device=CPU, precision=precision)
    assert {value.dtype for value in model.parameters()} == {dtype}
    assert {value.requires_grad for value in model.parameters()} == {method == "full"}
    assert model.training
    assert not model.config.use_cache


def test_training_leaves_the_files_as_they_are(folder: Path, configure: Configure) -> None:
    before = (folder / "model.safetensors").read_bytes()
    model = load_base(folder, configure("full"), device=CPU, precision="fp32")
    with torch.no_grad():
        for value in model.parameters():
            value.add_(1)
    assert (folder / "model.safetensors").read_bytes() == before


def test_missing_weights_are_never_made_up(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(RecipeError, match=r"layers\.1\.mlp\.up_proj") as raised:
        load_model(folder, device=CPU, dtype=torch.float32)
    assert raised.value.reason == "BASE_MODEL_UNAVAILABLE"


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    change_json(folder / "config.json", intermediate_size=80)
    with pytest.raises(RecipeError) as raised:
        load_model(folder, device=CPU, dtype=torch.float32)
    assert raised.value.reason == "BASE_MODEL_UNAVAILABLE"


def test_pickled_weights_are_not_read(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(RecipeError, match="safetensors"):
        load_model(folder, device=CPU, dtype=torch.float32)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize(
    "load", [load_tokenizer, lambda folder: load_model(folder, device=CPU, dtype=torch.float32)]
)
def test_a_folder_that_asks_for_remote_code_is_refused(
    folder: Path, name: str, load: Callable[[Path], Any]
) -> None:
    (folder / "mine.py").write_text("raise SystemExit('it ran')")
    change_json(folder / name, auto_map={"AutoTokenizer": ["mine.Mine", None], "AutoConfig": "mine.Mine"})
    with pytest.raises(RecipeError, match="auto_map"):
        load(folder)


def test_an_unknown_architecture_is_told_of(folder: Path) -> None:
    change_json(folder / "config.json", model_type="of-next-year", architectures=["NextForCausalLM"])
    with pytest.raises(RecipeError, match="release of transformers"):
        load_model(folder, device=CPU, dtype=torch.float32)


def test_a_tokenizer_without_padding_pads_with_a_token_it_has(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_model(tmp_path, vocab=512, hidden=32, chat_template=None))
    assert tokenizer.pad_token == "<|endoftext|>"
    assert len(tokenizer) == 512


def test_a_tokenizers_own_padding_is_kept(folder: Path) -> None:
    change_json(folder / "tokenizer_config.json", pad_token="<|im_start|>")
    assert load_tokenizer(folder).pad_token == "<|im_start|>"


def test_a_missing_tokenizer_is_told_of(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(RecipeError, match="tokenizer cannot be loaded"):
        load_tokenizer(folder)


def test_a_saved_tokenizer_is_the_same(folder: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(folder)
    (folder / "copy").mkdir()
    save_tokenizer(tokenizer, folder / "copy")
    (folder / "copy" / "config.json").write_bytes((folder / "config.json").read_bytes())
    again = load_tokenizer(folder / "copy")
    text = "def naïve(): return 'ß'\n"
    assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert again.chat_template == tokenizer.chat_template
