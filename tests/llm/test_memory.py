from dataclasses import replace
from typing import Any

import pytest

from tuneyard.llm.catalogue import find
from tuneyard.llm.memory import Workload, adapters_of
from tuneyard.llm.model_facts import ModelFacts


def facts(name: str = "llama-2-7b") -> ModelFacts:
    known = find(name)
    assert known
    return known.facts


def work(**changes: Any) -> Workload:
    base = Workload(facts=facts(), adapters=adapters_of(facts(), rank=8), batch_size=4, row_tokens=1024)
    return replace(base, **changes)


def test_adapters_of_query_and_value_have_two_matrices_each() -> None:
    adapters = adapters_of(facts(), rank=8)
    assert adapters.parameters == 32 * 2 * 8 * (4096 + 4096)
    assert adapters.file_bytes == 2 * adapters.parameters
    assert adapters.inputs == 32 * 2 * 4096


def test_all_linear_adapts_every_layer_and_a_dotted_name_its_end() -> None:
    every = adapters_of(facts(), rank=8, targets=("all-linear",))
    assert every.parameters == 32 * 8 * (4 * 2 * 4096 + 3 * (4096 + 11008))
    dotted = adapters_of(facts(), rank=8, targets=("self_attn.q_proj", "self_attn.v_proj"))
    assert dotted == adapters_of(facts(), rank=8)
    assert adapters_of(facts(), rank=8, targets=("nothing",)).parameters == 0


def test_dora_adds_a_magnitude_for_each_output() -> None:
    plain, dora = adapters_of(facts(), rank=8), adapters_of(facts(), rank=8, dora=True)
    assert dora.parameters - plain.parameters == 32 * 2 * 4096


def test_four_bits_take_at_most_035_of_the_bf16_weights() -> None:
    whole = work().weight_bytes
    assert work(bits=4).weight_bytes < 0.35 * whole
    assert work(bits=4, nested=True).weight_bytes < work(bits=4).weight_bytes
    assert work(bits=4).weight_bytes < work(bits=8).weight_bytes < 0.6 * whole


def test_full_fine_tuning_holds_sixteen_bytes_a_weight_with_adamw() -> None:
    full = work(adapters=None)
    assert full.state_bytes + full.gradient_bytes == 16 * facts().parameters
    eight = work(adapters=None, optimizer="8bit")
    assert eight.state_bytes + eight.gradient_bytes == 10 * facts().parameters
    sgd = work(adapters=None, optimizer="sgd")
    assert sgd.state_bytes + sgd.gradient_bytes == 12 * facts().parameters


@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize(
    "less",
    [
        {"batch_size": 2},
        {"checkpointing": True},
        {"bits": 4},
        {"row_tokens": 512},
        {"packed": False},
        {"adapters": adapters_of(facts(), rank=8, dropout=False)},
    ],
)
def test_every_remedy_needs_less(less: dict[str, Any], on_cpu: bool) -> None:
    assert work(**less).need(on_cpu=on_cpu) < work().need(on_cpu=on_cpu)


@pytest.mark.parametrize("on_cpu", [True, False])
def test_the_largest_batch_fits_and_the_next_one_does_not(on_cpu: bool) -> None:
    limit = 40 << 30
    largest = work().largest_batch_size(limit, on_cpu=on_cpu)
    assert largest > 0
    assert work(batch_size=largest).need(on_cpu=on_cpu) <= limit
    assert work(batch_size=largest + 1).need(on_cpu=on_cpu) > limit
    assert work().largest_batch_size(1 << 30, on_cpu=on_cpu) == 0


def test_attention_dropout_costs_a_processor_the_square_of_the_length() -> None:
    dropping = replace(facts(), attention_dropout=0.1)
    more = work(facts=dropping).activation_bytes(on_cpu=True) - work().activation_bytes(on_cpu=True)
    assert more == 4 * 1024 * 32 * 12 * 32 * 1024
    assert work(facts=dropping).device_bytes() == work().device_bytes()


def test_attention_that_is_not_fused_costs_the_square_of_the_length() -> None:
    def more(max_length: int) -> int:
        plain = work(facts=replace(facts(), fused_attention=False), row_tokens=max_length)
        return plain.device_bytes() - work(row_tokens=max_length).device_bytes()

    assert more(512) > 0
    assert more(1024) == 4 * more(512)


def test_gradients_of_scores_pass_one_layer_at_a_time() -> None:
    plain = work(facts=replace(facts(), fused_attention=False))
    more = plain.passing_bytes(on_cpu=False) - work().passing_bytes(on_cpu=False)
    assert more == (3 * 4 + 3 * 2) * 32 * 4 * 1024 * 1024


def test_the_logits_of_one_chunk_of_tokens_are_counted() -> None:
    def logits(tokens: int) -> int:
        sized = work(facts=replace(facts(), vocab_size=131_072), batch_size=1, row_tokens=tokens)
        return sized.passing_bytes(on_cpu=True) - tokens * 2 * (3 * 11008 + 4 * 4096)

    assert logits(512) == logits(64) == 2 * logits(32) == 64 * 131_072 * 4 * 5 // 2


def test_checkpoints_hold_what_is_trained_and_artifacts_what_is_kept() -> None:
    adapters = work().adapters
    assert adapters and work().checkpoint_bytes() == 16 * adapters.parameters
    assert work().artifact_bytes() == adapters.file_bytes
    assert work(adapters=None).artifact_bytes() == 2 * facts().parameters
