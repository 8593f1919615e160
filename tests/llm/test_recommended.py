from dataclasses import replace

import pytest

from tuneyard.llm.model_facts import ModelFacts
from tuneyard.llm.recommended import resolve
from tuneyard.v1 import training_pb2

LLAMA_7B = ModelFacts.from_config(
    {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "intermediate_size": 11008,
        "vocab_size": 32000,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
    }
)


def sized(parameters: float) -> ModelFacts:
    assert LLAMA_7B
    return replace(LLAMA_7B, parameters=int(parameters))


def spec(method: int = 0) -> training_pb2.TrainingSpec:
    message = training_pb2.TrainingSpec(dataset="datasets/d", base_model="llama-2-7b")
    message.language_model.method = method
    return message


@pytest.mark.parametrize(
    ("parameters", "r", "alpha", "batch", "accumulation", "rate"),
    [(6.7e9, 8, 16, 4, 4, 2e-4), (13e9, 16, 32, 2, 8, 1e-4)],
)
def test_7b_and_13b_get_what_the_guide_recommends(parameters, r, alpha, batch, accumulation, rate) -> None:
    resolved = resolve(spec(), sized(parameters))
    hyper, lora = resolved.hyperparameters, resolved.language_model.lora
    assert (lora.lora_r, lora.lora_alpha, lora.lora_dropout) == (r, alpha, 0.05)
    assert (hyper.batch_size, hyper.gradient_accumulation_steps) == (batch, accumulation)
    assert (hyper.learning_rate, hyper.epochs) == (rate, 3)


@pytest.mark.parametrize("parameters", [1e7, 5e8, 1.5e9, 3e9, 7e9, 13e9, 32e9, 70e9, 4e11])
def test_every_size_has_an_effective_batch_of_16(parameters: float) -> None:
    hyper = resolve(spec(), sized(parameters)).hyperparameters
    assert hyper.batch_size * hyper.gradient_accumulation_steps == 16


@pytest.mark.parametrize("method", [0, 1, 2, 3])
@pytest.mark.parametrize("parameters", [1e8, 7e9, 70e9])
def test_a_resolved_spec_resolves_to_itself_without_facts(method: int, parameters: float) -> None:
    once = resolve(spec(method), sized(parameters))
    assert resolve(once) == once


def test_an_unset_alpha_is_twice_the_rank() -> None:
    given = spec()
    given.language_model.lora.lora_r = 64
    assert resolve(given, LLAMA_7B).language_model.lora.lora_alpha == 128


def test_qlora_is_nf4_without_nesting_and_with_the_device_s_own_arithmetic() -> None:
    bits = resolve(spec(training_pb2.FINE_TUNING_METHOD_QLORA), LLAMA_7B).language_model.quantization
    assert bits.use_4bit and not bits.use_8bit and not bits.use_nested_quant
    assert bits.bnb_4bit_quant_type == training_pb2.QUANT_TYPE_NF4
    assert bits.bnb_4bit_compute_dtype == training_pb2.COMPUTE_DTYPE_UNSPECIFIED


def test_a_given_compute_dtype_is_honoured_and_8_bits_replace_4() -> None:
    given = spec(training_pb2.FINE_TUNING_METHOD_QLORA)
    given.language_model.quantization.bnb_4bit_compute_dtype = training_pb2.COMPUTE_DTYPE_FLOAT16
    bits = resolve(given, LLAMA_7B).language_model.quantization
    assert bits.bnb_4bit_compute_dtype == training_pb2.COMPUTE_DTYPE_FLOAT16
    eight = spec(training_pb2.FINE_TUNING_METHOD_QLORA)
    eight.language_model.quantization.use_8bit = True
    assert not resolve(eight, LLAMA_7B).language_model.quantization.use_4bit


def test_full_fine_tuning_has_its_own_rate_and_no_adapters() -> None:
    resolved = resolve(spec(training_pb2.FINE_TUNING_METHOD_FULL), LLAMA_7B)
    assert resolved.hyperparameters.learning_rate == 1e-5
    assert not resolved.language_model.HasField("lora")


def test_target_modules_may_be_a_list_or_stand_between_commas() -> None:
    given = spec()
    given.language_model.lora.target_modules.extend(["q_proj, k_proj,", "v_proj"])
    assert list(resolve(given).language_model.lora.target_modules) == ["q_proj", "k_proj", "v_proj"]


def test_unset_target_modules_are_named_after_the_layers_that_the_model_has() -> None:
    assert list(resolve(spec(), LLAMA_7B).language_model.lora.target_modules) == ["q_proj", "v_proj"]
    gpt2 = ModelFacts.from_config(
        {
            "model_type": "gpt2",
            "architectures": ["GPT2LMHeadModel"],
            "n_embd": 64,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 128,
            "vocab_size": 512,
        }
    )
    assert gpt2
    assert list(resolve(spec(), gpt2).language_model.lora.target_modules) == ["c_attn"]


@pytest.mark.parametrize(("batch", "accumulation"), [(2, 8), (16, 1), (32, 1), (5, 3)])
def test_a_given_batch_keeps_the_effective_batch_near_16(batch: int, accumulation: int) -> None:
    given = spec()
    given.hyperparameters.batch_size = batch
    assert resolve(given, LLAMA_7B).hyperparameters.gradient_accumulation_steps == accumulation


def test_a_given_accumulation_keeps_the_effective_batch_near_16() -> None:
    given = spec()
    given.hyperparameters.gradient_accumulation_steps = 16
    assert resolve(given, LLAMA_7B).hyperparameters.batch_size == 1


def test_the_default_length_ends_where_the_model_s_positions_end() -> None:
    short = replace(sized(1e8), max_positions=512)
    assert resolve(spec(), short).language_model.max_length == 512
    assert resolve(spec(), LLAMA_7B).language_model.max_length == 1024
