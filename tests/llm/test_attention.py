"""Attention by samples equals transformers' masks, in packed rows, under checkpointing and in generation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.support.tiny_llm import ARCHITECTURES, tiny_model
from tuneyard.llm import attention
from tuneyard.llm.attention import Segments, segments_of
from tuneyard.llm.base_model import load_model
from tuneyard.llm.decoder import decoder_of
from tuneyard.llm.loss import loss_sums
from tuneyard.llm.model_facts import MIXING
from tuneyard.llm.rows import Sample, micro_batches, pack

CPU = torch.device("cpu")


def tiny(model_type: str, **settings: Any) -> Any:
    shape = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = AutoConfig.for_model(model_type, **shape | settings)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


def rows(lengths: list[int], *, max_length: int, packing: bool = True) -> list[Any]:
    generator = np.random.default_rng(0)
    samples = [Sample(generator.integers(3, 300, n).astype(np.int32), np.arange(n) > 0) for n in lengths]
    return micro_batches(pack(samples, max_length=max_length, packing=packing, pad_token=0), 2, pad_token=0)


def losses(model: Any, batches: list[Any]) -> list[float]:
    with torch.no_grad():
        return [loss_sums(model, each, precision="fp32", device=CPU).loss.item() for each in batches]


def test_segments_begin_where_positions_are_0() -> None:
    positions = np.array([[0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 4, 5]])
    found = segments_of(positions)
    assert found == Segments(((3, 2, 1), (6,)))
    assert (found.longest, found.packed) == (6, True)


def test_short_samples_are_computed_together_and_long_ones_alone() -> None:
    (groups,) = Segments(((10, 20, 300, 200, 56, 1),)).groups
    assert [group.lengths for group in groups] == [[10, 20], [300], [200, 56], [1]]
    assert [group.mask is None for group in groups] == [False, True, False, True]


def test_a_mask_lets_a_token_see_its_own_sample_up_to_itself() -> None:
    ((group,),) = Segments(((1, 2),)).groups
    assert group.mask is not None
    assert group.mask[0, 0, :3, :3].int().tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


def test_groups_have_few_widths_and_what_fills_them_up_is_seen_by_no_sample() -> None:
    (groups,) = Segments(((30, 40, 300, 128),)).groups
    assert [group.tokens + group.padding for group in groups] == [128, 320, 128]
    mask = groups[0].mask
    assert mask is not None
    assert not mask[0, 0, :70, 70:].any()
    assert not mask[0, 0, 70:, :70].any()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_common_architectures_take_segments(tmp_path: Path, architecture: Any) -> None:
    model = load_model(tiny_model(tmp_path, architecture, hidden=32), device=CPU, dtype=torch.float32)
    found = decoder_of(model)
    assert (found.isolates, found.takes_segments) == (True, True)


def test_long_rows_have_the_loss_of_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = rows([200, 300, 90, 30, 20, 10, 5, 250], max_length=512)
    model = tiny("llama", num_key_value_heads=1)
    by_segments = losses(model, batches)
    assert model.config._attn_implementation == attention.NAME
    masked = tiny("llama", num_key_value_heads=1)
    monkeypatch.setattr("tuneyard.llm.decoder._segmented", lambda *_: False)
    assert losses(masked, batches) == pytest.approx(by_segments, rel=1e-6)
    assert masked.config._attn_implementation == "sdpa"


def test_samples_longer_than_a_models_window_are_left_to_its_masks() -> None:
    model = tiny("mistral", num_key_value_heads=2, sliding_window=16)
    found = decoder_of(model)
    ids = torch.zeros(1, 40, dtype=torch.int64)
    assert found.takes_segments
    assert "segments" in found.inputs(ids, ids, Segments(((16, 16, 8),)))
    assert "segments" not in found.inputs(ids, ids, Segments(((17, 23),)))


@pytest.mark.parametrize("model_type", ["opt", "bloom"])
def test_a_model_that_lets_packed_samples_see_each_other_gets_them_one_by_one(model_type: str) -> None:
    settings = (
        {"n_layer": 2, "n_head": 2} if model_type == "bloom" else {"word_embed_proj_dim": 32, "ffn_dim": 64}
    )
    model = tiny(model_type, **settings)
    assert not decoder_of(model).isolates
    lengths = [20, 9, 14]
    packed = sum(losses(model, rows(lengths, max_length=64)))
    alone = sum(losses(model, rows(lengths, max_length=64, packing=False)))
    assert packed == pytest.approx(alone, rel=1e-5)


_OTHER_NAMES: dict[str, dict[str, Any]] = {
    "biogpt": {"intermediate_size": 64},
    "falcon": {},
    "opt": {"word_embed_proj_dim": 32, "ffn_dim": 64},
    "recurrent_gemma": {"num_hidden_layers": 3, "intermediate_size": 64},
    "xglm": {"d_model": 32, "num_layers": 2, "attention_heads": 2, "ffn_dim": 64},
}


@pytest.mark.parametrize("model_type", sorted(MIXING))
def test_types_that_are_known_to_mix_samples_do(model_type: str) -> None:
    assert not decoder_of(tiny(model_type, **_OTHER_NAMES[model_type])).isolates


def test_attention_by_samples_keeps_apart_what_positions_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("opt", word_embed_proj_dim=32, ffn_dim=64)
    decoder = decoder_of(model)
    assert (decoder.isolates, decoder.takes_segments) == (False, True)
    monkeypatch.setattr("tuneyard.llm.loss._one_by_one", lambda _: pytest.fail("computed one by one"))
    losses(model, rows([20, 9, 14], max_length=64))


@pytest.mark.parametrize(("model_type", "isolates"), [("llama", True), ("opt", False)])
def test_samples_are_known_to_be_apart_also_where_layers_round_coarsely(
    model_type: str, isolates: bool
) -> None:
    settings = {} if isolates else {"word_embed_proj_dim": 32, "ffn_dim": 64}
    model = tiny(model_type, **settings).to(torch.bfloat16)
    generator = torch.Generator().manual_seed(0)

    def rounded(_module: object, _args: object, given: Any) -> Any:
        hidden = given["last_hidden_state"]
        noise = torch.randn(hidden.shape, generator=generator) * hidden.float().std() * 0.03
        given["last_hidden_state"] = hidden + noise.to(hidden.dtype)
        return given

    model.base_model.register_forward_hook(rounded)
    assert decoder_of(model).isolates is isolates


def test_generation_is_that_of_an_untouched_model() -> None:
    ids = torch.arange(5, 17).unsqueeze(0)
    settings = {"max_new_tokens": 8, "do_sample": False, "use_cache": True, "pad_token_id": 0}
    expected = tiny("llama").generate(ids, **settings)
    model = tiny("llama")
    assert decoder_of(model).takes_segments
    assert model.generate(ids, **settings).tolist() == expected.tolist()


def test_padded_batches_are_generated_as_by_an_untouched_model() -> None:
    ids = torch.tensor([[0, 0, 5, 6, 7], [8, 9, 10, 11, 12]])
    mask = (ids != 0).long()
    plain, model = tiny("llama"), tiny("llama")
    decoder_of(model)
    with torch.no_grad():
        expected, ours = (each(input_ids=ids, attention_mask=mask).logits for each in (plain, model))
    torch.testing.assert_close(ours[mask == 1], expected[mask == 1])


def test_a_saved_model_does_not_name_the_implementation(tmp_path: Path) -> None:
    model = tiny("llama")
    decoder_of(model)
    model.save_pretrained(tmp_path)
    assert attention.NAME not in (tmp_path / "config.json").read_text()
