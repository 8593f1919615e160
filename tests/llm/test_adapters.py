"""Adapters: where they go, what is trained, and that plain peft loads what is saved."""

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftConfig, PeftModel
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from tests.support.tiny_llm import tiny_model
from tuneyard.llm.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, add_adapter, save_adapter, without_adapter
from tuneyard.llm.base_model import load_base
from tuneyard.llm.config import LanguageModelConfig, Lora
from tuneyard.llm.precision import Precision
from tuneyard.recipes.trained_weights import adapter_state, load_adapter_state, trained_parameters
from tuneyard.trainer.base_identity import BaseIdentity
from tuneyard.trainer.errors import RecipeError

Configure = Callable[..., LanguageModelConfig]
CPU = torch.device("cpu")
IDS = torch.arange(40, 60).unsqueeze(0)
BASE = BaseIdentity(id="somebody/tiny-model", revision="0123abc", sha256="ab" * 32)


def adapted(folder: Path, config: LanguageModelConfig, precision: Precision = "fp32") -> PeftModel:
    """A model with an adapter that does something, in evaluation mode."""
    torch.manual_seed(0)
    model = add_adapter(load_base(folder, config, device=CPU, precision=precision), config)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(value, std=0.1)
    return model.eval()


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=IDS, use_cache=False).logits
    return found


def adapted_leaves(model: PeftModel) -> set[str]:
    return {name.split(".lora_A")[0].rpartition(".")[2] for name in adapter_state(model) if "lora_A" in name}


def test_only_the_adapter_is_trained_and_in_fp32(tiny_base: Path, configure: Configure) -> None:
    model = adapted(tiny_base, configure(), "bf16")
    assert all("lora_" in name for name in adapter_state(model))
    assert {value.dtype for value in trained_parameters(model)} == {torch.float32}
    assert {value.dtype for value in model.parameters() if not value.requires_grad} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ((), {"q_proj", "v_proj"}),
        (("q_proj,o_proj",), {"q_proj", "o_proj"}),
        (("all-linear",), {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}),
        (("q_proj", "lm_head"), {"q_proj", "lm_head"}),
        (("layers.1.self_attn.q_proj",), {"q_proj"}),
    ],
)
def test_the_chosen_layers_are_adapted(
    tiny_base: Path, configure: Configure, asked: tuple[str, ...], expected: set[str]
) -> None:
    assert adapted_leaves(adapted(tiny_base, configure(lora=Lora(target_modules=asked)))) == expected


def test_a_path_adapts_one_layer_only(tiny_base: Path, configure: Configure) -> None:
    model = adapted(tiny_base, configure(lora=Lora(target_modules=("layers.1.self_attn.q_proj",))))
    assert len(trained_parameters(model)) == 2


def test_an_unknown_layer_is_told_with_those_that_there_are(tiny_base: Path, configure: Configure) -> None:
    config = configure(lora=Lora(target_modules=("q_proj", "c_attn")))
    with pytest.raises(RecipeError, match=r"lora\.target_modules.*c_attn.*down_proj.*q_proj") as raised:
        add_adapter(load_base(tiny_base, config, device=CPU, precision="fp32"), config)
    assert raised.value.reason == "INVALID_FIELD"


def test_a_head_that_shares_the_embeddings_gets_no_adapter(tmp_path: Path, configure: Configure) -> None:
    config = configure(lora=Lora(target_modules=("lm_head",)))
    with pytest.raises(RecipeError, match="lm_head"):
        adapted(tiny_model(tmp_path, tied=True), config)


def test_without_the_adapter_the_base_answers(tiny_base: Path, configure: Configure) -> None:
    model = adapted(tiny_base, configure())
    tuned = logits(model)
    with without_adapter(model):
        base = logits(model)
    plain = AutoModelForCausalLM.from_pretrained(tiny_base)
    torch.testing.assert_close(base, logits(plain))
    assert (tuned - base).abs().max() > 1e-3
    torch.testing.assert_close(logits(model), tuned, rtol=0, atol=0)


def test_the_state_of_a_checkpoint_comes_back(tiny_base: Path, configure: Configure) -> None:
    first = adapted(tiny_base, configure())
    state = {name: value.clone() for name, value in adapter_state(first).items()}
    second = add_adapter(load_base(tiny_base, configure(), device=CPU, precision="fp32"), configure()).eval()
    load_adapter_state(second, state)
    torch.testing.assert_close(logits(second), logits(first), rtol=0, atol=0)


def test_the_state_of_other_layers_is_refused(tiny_base: Path, configure: Configure) -> None:
    model = adapted(tiny_base, configure())
    with pytest.raises(ValueError, match="other weights"):
        load_adapter_state(model, {"x": torch.zeros(1)})


@pytest.mark.parametrize(
    ("architecture", "lora"),
    [
        ("llama", Lora(r=4)),
        ("llama", Lora(r=4, use_rslora=True, target_modules=("all-linear",))),
        ("llama", Lora(r=4, use_dora=True)),
        ("llama", Lora(r=4, target_modules=("q_proj", "lm_head"))),
        ("gpt2", Lora(r=4)),
        ("phi3", Lora(r=4)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.filterwarnings("error::UserWarning")
def test_plain_peft_loads_what_is_saved(
    tmp_path: Path, configure: Configure, architecture: Any, lora: Lora
) -> None:
    base = tiny_model(tmp_path / "base", architecture)
    model = adapted(base, configure(lora=lora))
    (tmp_path / "adapter").mkdir()
    folder = save_adapter(model, tmp_path / "adapter", base=BASE, dtype=torch.float32)
    plain = AutoModelForCausalLM.from_pretrained(base)
    loaded = PeftModel.from_pretrained(plain, str(folder)).eval()
    torch.testing.assert_close(logits(loaded), logits(model), rtol=1e-5, atol=1e-6)


def test_the_saved_files_name_the_base(tmp_path: Path, tiny_base: Path, configure: Configure) -> None:
    folder = save_adapter(adapted(tiny_base, configure()), tmp_path, base=BASE)
    config = PeftConfig.from_pretrained(str(folder))
    assert (config.base_model_name_or_path, config.revision) == (BASE.id, BASE.revision)
    assert config.inference_mode
    text = json.loads((folder / ADAPTER_CONFIG).read_text())
    assert text["auto_mapping"]["base_model_sha256"] == BASE.sha256
    with safe_open(folder / ADAPTER_WEIGHTS, "pt") as file:
        assert file.metadata()["base_model_sha256"] == BASE.sha256


def test_an_adapter_is_saved_to_the_same_bytes_each_time(
    tmp_path: Path, tiny_base: Path, configure: Configure
) -> None:
    model, folders = adapted(tiny_base, configure()), [tmp_path / str(number) for number in range(4)]
    for folder in folders:
        folder.mkdir()
        save_adapter(model, folder, base=BASE)
    for name in (ADAPTER_WEIGHTS, ADAPTER_CONFIG):
        assert len({(folder / name).read_bytes() for folder in folders}) == 1


def test_the_weights_are_saved_in_the_given_format(
    tmp_path: Path, tiny_base: Path, configure: Configure
) -> None:
    model = adapted(tiny_base, configure())
    folder = save_adapter(model, tmp_path, base=BASE, dtype=torch.bfloat16)
    numbers = sum(value.numel() for value in trained_parameters(model))
    size = (folder / ADAPTER_WEIGHTS).stat().st_size
    assert 2 * numbers < size < 2 * numbers + 4096


def test_saving_asks_nobody_about_the_base(
    tmp_path: Path, tiny_base: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = adapted(tiny_base, configure())

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert (save_adapter(model, tmp_path, base=replace(BASE)) / ADAPTER_WEIGHTS).is_file()
