"""Models that would run foreign code, or are no causal language models, are refused unloaded."""

import json
from pathlib import Path
from typing import Any

import pytest

from tuneyard.llm.safe_config import check, check_folder
from tuneyard.trainer.errors import RecipeError

LLAMA: dict[str, Any] = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64}


def folder_with(folder: Path, **files: Any) -> Path:
    for name, value in {"config": LLAMA, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    return folder


def test_a_plain_causal_language_model_is_taken(tmp_path: Path) -> None:
    tokenizer = {"chat_template": "{{ messages }}", "tokenizer_class": "PreTrainedTokenizerFast"}
    assert check_folder(folder_with(tmp_path, tokenizer_config=tokenizer)) == LLAMA


def test_gpt2_by_its_old_name_is_taken() -> None:
    check({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]})


@pytest.mark.parametrize(
    "entry",
    [
        {"auto_map": {"AutoModelForCausalLM": "modeling.Mine"}},
        {"trust_remote_code": True},
        {"_attn_implementation_internal": "somebody/kernel"},
        {"attn_implementation": "somebody/kernel"},
        {"attn_implementation": {"text_config": "somebody/kernel"}},
        {"text_config": {"_experts_implementation": "somebody/kernel"}},
        {"parts": [{"auto_map": {"AutoConfig": "configuration.Mine"}}]},
        {"transformers_weights": "../elsewhere.safetensors"},
    ],
)
def test_a_config_that_asks_for_foreign_code_is_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"config\.json") as raised:
        check(LLAMA | entry)
    assert raised.value.reason == "NOT_SUPPORTED"
    assert raised.value.remedies


@pytest.mark.parametrize("name", ["tokenizer_config", "generation_config", "processor_config"])
def test_code_asked_for_beside_the_config_is_refused(tmp_path: Path, name: str) -> None:
    folder = folder_with(tmp_path, **{name: {"auto_map": {"AutoTokenizer": ["tokenization.Mine", None]}}})
    with pytest.raises(RecipeError, match=f"{name}.json: auto_map"):
        check_folder(folder)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"architectures": ["LlavaForConditionalGeneration"], "vision_config": {}}, "reads images"),
        ({"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True}, "encoder-decoder"),
        ({"architectures": ["BertForMaskedLM"]}, "BertForMaskedLM"),
        ({"architectures": []}, "not named"),
        ({"model_type": None}, "model_type"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised already"),
    ],
)
def test_what_is_no_plain_causal_language_model_is_refused(entry: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        check(LLAMA | entry)


def test_an_adapter_is_not_taken_for_its_base(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="adapter"):
        check_folder(folder_with(tmp_path, adapter_config={"base_model_name_or_path": "a/b"}))


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "\udcff", "[" * 100_000])
def test_a_config_that_is_no_object_is_told_of(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(RecipeError, match="JSON object"):
        check_folder(tmp_path)


def test_a_folder_without_a_config_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no config\.json"):
        check_folder(tmp_path)
