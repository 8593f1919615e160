import pytest

from tuneyard.llm.model_facts import ModelFacts

SIZES = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
}
GPT2 = {"vocab_size": 96, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}
OPT = {**SIZES, "ffn_dim": 80, "word_embed_proj_dim": 32}
CONFIGS = [
    *(
        (kind, SIZES)
        for kind in (
            *("llama", "granite", "smollm3", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"),
            *("olmo2", "phi", "phi3", "gpt_neox"),
        )
    ),
    (
        "llama",
        {**SIZES, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "head_dim": 16},
    ),
    ("gpt2", GPT2),
    ("opt", OPT),
]


@pytest.mark.parametrize(
    ("model_type", "sizes"), CONFIGS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_counts_are_those_of_the_library(model_type: str, sizes: dict[str, object]) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(model_type, pad_token_id=0, **sizes)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    facts = ModelFacts.from_config({**config.to_dict(), "model_type": model_type})
    assert facts is not None
    assert facts.parameters == sum(parameter.numel() for parameter in model.parameters())
    kinds = (torch.nn.Linear, transformers.pytorch_utils.Conv1D)
    head = model.get_output_embeddings()
    found = [
        (name.rpartition(".")[2], module.weight.numel())
        for name, module in model.named_modules()
        if isinstance(module, kinds) and module is not head
    ]
    expected = [(each.name, each.inputs * each.outputs) for each in facts.linears for _ in range(each.count)]
    assert sorted(found) == sorted(expected)


def test_facts_survive_json() -> None:
    facts = ModelFacts.from_config({"model_type": "llama", "torch_dtype": "bfloat16", **SIZES})
    assert facts and ModelFacts.from_json(facts.to_json()) == facts
    assert facts.dtype_bytes == 2
    assert facts.parameters == facts.linear_parameters + facts.other_parameters


@pytest.mark.parametrize("text", ["[]", "{}", '{"linears": 3}', "x", '{"linears": []}'])
def test_what_is_no_facts_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        ModelFacts.from_json(text)


@pytest.mark.parametrize(
    "config", [{}, {"model_type": "mamba"}, {"model_type": "llama"}, {"model_type": "opt"}]
)
def test_an_architecture_that_is_not_counted_has_no_facts(config: dict[str, object]) -> None:
    assert ModelFacts.from_config(config) is None
