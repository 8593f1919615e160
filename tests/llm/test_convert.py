"""Imported folders of language models: what they become, and what is refused."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.tiny_llm import (
    ARCHITECTURES,
    WITHOUT_FUSED_ATTENTION,
    Architecture,
    tiny_llama,
    tiny_model,
)
from tuneyard.llm.convert import convert
from tuneyard.llm.model_facts import ModelFacts
from tuneyard.trainer.convert_child import Converted, ModelFiles
from tuneyard.trainer.errors import RecipeError

Imported = Callable[[Path], tuple[Converted, Path]]


@pytest.fixture
def imported(tmp_path: Path) -> Imported:
    def run(folder: Path) -> tuple[Converted, Path]:
        result = tmp_path / "result"
        result.mkdir()
        return convert(ModelFiles(source=folder, result=result)), result

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_llama(tmp_path / "llama", dtype=torch.bfloat16)


def refused(imported: Imported, folder: Path) -> str:
    with pytest.raises(RecipeError) as failed:
        imported(folder)
    return " ".join((failed.value.reason, failed.value.message, *failed.value.remedies))


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("architecture", (*ARCHITECTURES, *WITHOUT_FUSED_ATTENTION))
def test_a_folder_is_linked_checked_and_counted(
    imported: Imported, tmp_path: Path, architecture: Architecture
) -> None:
    folder = tiny_model(tmp_path / "model", architecture)
    (folder / "modeling_x.py").write_text("code")
    converted, result = imported(folder)
    model = AutoModelForCausalLM.from_pretrained(result)
    facts = ModelFacts.from_json(converted.facts)
    assert facts.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (facts.architecture, facts.dtype_bytes) == (type(model).__name__, 4)
    assert converted.tasks == ("language_model",)
    assert os.path.samefile(result / "model.safetensors", folder / "model.safetensors")
    assert not (result / "modeling_x.py").exists()


@pytest.mark.parametrize(
    "architecture", ["llama", "qwen2", "qwen3", "mistral", "gpt2", "gpt_neox", "phi", "phi3"]
)
def test_exact_facts_equal_those_of_the_config(
    imported: Imported, tmp_path: Path, architecture: Architecture
) -> None:
    folder = tiny_model(tmp_path / "model", architecture, tied=architecture == "gpt2")
    exact = ModelFacts.from_json(imported(folder)[0].facts)
    counted = ModelFacts.from_config(json.loads((folder / "config.json").read_text()))
    assert counted is not None
    assert (exact.parameters, exact.tied_embeddings) == (counted.parameters, counted.tied_embeddings)
    assert exact.linear_parameters == counted.linear_parameters
    assert exact.attention_dropout == counted.attention_dropout


@pytest.mark.parametrize(("architecture", "name"), [("gpt2", "attn_pdrop"), ("llama", "attention_dropout")])
def test_exact_facts_tell_the_dropout_of_attention(
    imported: Imported, tmp_path: Path, architecture: Architecture, name: str
) -> None:
    folder = tiny_model(tmp_path / "model", architecture)
    edit(folder / "config.json", **{name: 0.3})
    assert ModelFacts.from_json(imported(folder)[0].facts).attention_dropout == 0.3


def test_shards_are_linked_with_their_index(imported: Imported, folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    converted, result = imported(folder)
    assert len(list(result.glob("model-*.safetensors"))) > 2
    assert "weights in bfloat16" in converted.detail


def test_a_shard_that_is_missing_is_named(imported: Imported, folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    shards[1].unlink()
    assert f"names {shards[1].name}, which is not there" in refused(imported, folder)


def test_a_folder_within_a_zip_is_found(imported: Imported, folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "outer-model")
    (tmp_path / "outer").mkdir()
    (tmp_path / "outer-model").rename(tmp_path / "outer" / "model")
    assert (imported(tmp_path / "outer")[1] / "tokenizer.json").is_file()


def test_a_pickle_of_tensors_becomes_safetensors(imported: Imported, folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    written = load_file(imported(folder)[1] / "model.safetensors")
    assert all(torch.equal(written[name], value) for name, value in state.items())


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", [pickle.dump, torch.save])
def test_a_pickle_with_code_is_refused_and_never_run(
    imported: Imported, folder: Path, tmp_path: Path, write: Any
) -> None:
    trap = tmp_path / "run"
    (folder / "model.safetensors").unlink()
    with (folder / "pytorch_model.bin").open("wb") as file:
        write({"weight": Trap(trap)}, file)
    assert "call save_pretrained" in refused(imported, folder)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state.pop("model.norm.weight"), "1 missing: model.norm.weight"),
        (lambda state: state.update(extra=torch.zeros(1)), "1 unknown: extra"),
        (
            lambda state: state.update({"model.norm.weight": torch.zeros(3)}),
            "1 of another shape: model.norm.weight (3,), not (64,)",
        ),
        (
            lambda state: state["model.norm.weight"].fill_(float("nan")),
            "model.norm.weight holds values that are not",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(imported: Imported, folder: Path, change: Any, told: str) -> None:
    rewrite(folder, change)
    assert told in refused(imported, folder)


def test_a_file_that_is_cut_off_is_refused(imported: Imported, folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(2000)
    told = refused(imported, folder)
    assert "model.safetensors" in told
    assert "Import the whole folder again" in told


def test_a_missing_tokenizer_is_told(imported: Imported, folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    assert "tokenizer.json is missing" in refused(imported, folder)


def test_a_tokenizer_is_made_from_vocab_and_merges(imported: Imported, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model", "gpt2", chat_template=None)
    before = AutoTokenizer.from_pretrained(folder)
    parts = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(parts["vocab"]))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in parts["merges"]]
    (folder / "merges.txt").write_text("\n".join(("#version: 0.2", *merges)) + "\n")
    (folder / "tokenizer.json").unlink()
    edit(folder / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    result = imported(folder)[1]
    text = "def merge(self): return 1"
    assert AutoTokenizer.from_pretrained(result)(text)["input_ids"] == before(text)["input_ids"]


def test_a_tokenizer_of_another_model_is_refused(imported: Imported, folder: Path, tmp_path: Path) -> None:
    other = tiny_llama(tmp_path / "other", vocab=2048)
    shutil.copyfile(other / "tokenizer.json", folder / "tokenizer.json")
    assert "embeddings end at 1023" in refused(imported, folder)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}, "remote code"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "no causal language model"),
        ({"model_type": "invented"}, "transformers cannot make a model of config.json"),
    ],
)
def test_a_config_that_is_no_language_models_is_refused(
    imported: Imported, folder: Path, values: Any, told: str
) -> None:
    edit(folder / "config.json", **values)
    assert told in refused(imported, folder)


def test_what_a_folder_lacks_is_told(imported: Imported, folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "no weights among the files" in refused(imported, folder)
    (tmp_path / "result").rename(tmp_path / "before")
    (tmp_path / "gguf").mkdir()
    (tmp_path / "gguf" / "model.gguf").write_bytes(b"GGUF")
    assert "GGUF" in refused(imported, tmp_path / "gguf")
