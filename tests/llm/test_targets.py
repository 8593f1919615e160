"""Which layers get an adapter, by name."""

import pytest

from tuneyard.llm.targets import chosen_layers, default_targets, requested_targets

LLAMA = [
    f"model.layers.{layer}.{part}"
    for layer in range(2)
    for part in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.up_proj")
]
HEAD = "lm_head"


def test_unset_targets_are_the_query_and_value_projections() -> None:
    chosen = chosen_layers([*LLAMA, HEAD], (), head=HEAD)
    assert {name.rpartition(".")[2] for name in chosen} == {"q_proj", "v_proj"}
    assert len(chosen) == 4


@pytest.mark.parametrize(
    ("leaves", "expected"),
    [
        ({"c_attn", "c_proj", "c_fc"}, ("c_attn",)),
        ({"query_key_value", "dense"}, ("query_key_value",)),
        ({"qkv_proj", "o_proj"}, ("qkv_proj",)),
        ({"Wqkv", "out_proj"}, ("Wqkv",)),
        ({"dense"}, ()),
    ],
)
def test_without_those_the_attention_projections_are_adapted(
    leaves: set[str], expected: tuple[str, ...]
) -> None:
    assert default_targets(leaves) == expected


def test_one_string_may_name_several_layers() -> None:
    assert requested_targets(["q_proj, v_proj", "up_proj,"]) == ("q_proj", "v_proj", "up_proj")


def test_all_linear_leaves_the_head_out() -> None:
    assert chosen_layers([*LLAMA, HEAD], ["all-linear"], head=HEAD) == LLAMA


def test_the_head_is_adapted_where_its_name_asks_for_it() -> None:
    assert HEAD in chosen_layers([*LLAMA, HEAD], ["q_proj", HEAD], head=HEAD)


def test_part_of_a_path_names_one_layer_only() -> None:
    assert chosen_layers(LLAMA, ["1.self_attn.q_proj"]) == ["model.layers.1.self_attn.q_proj"]


def test_part_of_a_word_names_nothing() -> None:
    with pytest.raises(ValueError, match=r"^proj, attn$"):
        chosen_layers(LLAMA, ["q_proj", "proj", "attn"])


def test_a_model_without_known_attention_wants_names() -> None:
    with pytest.raises(ValueError, match=r"^$"):
        chosen_layers(["block.0.dense"], ())
