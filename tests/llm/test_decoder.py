"""Taking models apart for the loss: what is proven, what is computed whole, and that both are exact."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM

from tuneyard.llm.adapters import add_adapter
from tuneyard.llm.chunked_loss import LogitCourse
from tuneyard.llm.config import LanguageModelConfig, Lora
from tuneyard.llm.decoder import decoder_of
from tuneyard.llm.loss import loss_sums
from tuneyard.llm.rows import IGNORED, Rows, Sample, micro_batches, pack

CPU = torch.device("cpu")
SHAPE = {
    "vocab_size": 200,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def made(model_type: str, **settings: Any) -> Any:
    """A model of random weights, large enough that a soft cap bends its logits."""
    config = AutoConfig.for_model(model_type, **{**SHAPE, **settings})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(8)
    return model.eval()


def batch() -> Rows:
    generator = np.random.default_rng(0)
    samples = [Sample(generator.integers(3, 200, n).astype(np.int32), np.arange(n) > 0) for n in (20, 11, 30)]
    (rows,) = micro_batches(pack(samples, max_length=64, packing=True, pad_token=0), 1, pad_token=0)
    return rows


def ours(model: Any) -> Tensor:
    return loss_sums(model, batch(), precision="fp32", device=CPU, method="full", chunk_tokens=5).loss


def plain(model: Any) -> Tensor:
    rows = batch()
    logits = model(
        input_ids=torch.from_numpy(rows.ids), position_ids=torch.from_numpy(rows.positions), use_cache=False
    ).logits
    targets = torch.from_numpy(rows.targets).flatten()
    return functional.cross_entropy(logits.flatten(0, 1), targets, ignore_index=IGNORED, reduction="sum")


@pytest.mark.parametrize(
    ("model_type", "settings", "course"),
    [
        ("llama", {}, LogitCourse()),
        ("gemma2", {"final_logit_softcapping": 3.0}, LogitCourse(cap=3.0)),
        ("cohere", {"logit_scale": 0.25}, LogitCourse(scale=0.25)),
        ("granite", {"logits_scaling": 4.0}, LogitCourse(scale=0.25)),
        ("phi", {}, LogitCourse()),
    ],
)
def test_scales_and_caps_are_known(model_type: str, settings: dict[str, Any], course: LogitCourse) -> None:
    model = made(model_type, **settings)
    assert decoder_of(model).head is not None
    assert decoder_of(model).course == course
    torch.testing.assert_close(ours(model), plain(model), rtol=1e-5, atol=1e-4)
    parameters = list(model.parameters())
    for mine, theirs in zip(
        torch.autograd.grad(ours(model), parameters),
        torch.autograd.grad(plain(model), parameters),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()) + 1e-6)


def test_a_model_that_bends_logits_unannounced_is_computed_whole() -> None:
    model = made("gemma2", final_logit_softcapping=3.0)
    with torch.no_grad():
        expected = plain(model)
    model.config.final_logit_softcapping = None
    hidden_cap = model.forward

    def capped(*args: Any, **kwargs: Any) -> Any:
        out = hidden_cap(*args, **kwargs)
        out.logits = torch.tanh(out.logits / 3.0) * 3.0
        return out

    model.forward = capped
    assert decoder_of(model).head is None
    torch.testing.assert_close(ours(model), expected)


def test_a_head_that_gets_other_inputs_is_left_to_the_model() -> None:
    model = made("llama")
    model.lm_head.register_forward_pre_hook(lambda _, args: (args[0] / 2,))
    assert decoder_of(model).head is None
    torch.testing.assert_close(ours(model), plain(model))


def test_an_adapted_head_is_left_to_the_model() -> None:
    config = LanguageModelConfig(base_model="x", lora=Lora(dropout=0.0, target_modules=("q_proj", "lm_head")))
    model = add_adapter(made("llama"), config).eval()
    torch.nn.init.normal_(model.get_base_model().lm_head.lora_B["default"].weight)
    assert decoder_of(model).head is None
    torch.testing.assert_close(ours(model), plain(model))


def test_the_proof_changes_neither_mode_nor_random_state() -> None:
    model = made("llama", attention_dropout=0.5).train()
    before = torch.get_rng_state()
    decoder_of(model)
    assert model.training
    torch.testing.assert_close(torch.get_rng_state(), before)


def test_a_model_without_positions_is_called_without() -> None:
    config = AutoConfig.for_model("bloom", vocab_size=200, hidden_size=32, n_layer=2, n_head=2)
    model = AutoModelForCausalLM.from_config(config).eval()
    assert not decoder_of(model).takes_positions
    assert ours(model) > 0
