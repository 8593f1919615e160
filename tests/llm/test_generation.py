from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.tiny_llm import ARCHITECTURES, WITHOUT_FUSED_ATTENTION, tiny_model
from tuneyard.llm.generation import context_length, end_tokens, generate_batch, stream

_PROMPT = "Return the number of items"


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    yield _opened(tiny_model(tmp_path_factory.mktemp("llama"), "llama", positions=256))


def _opened(folder: Path) -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


def generate(model: Any, tokenizer: Any, ids: list[int], **settings: Any) -> Iterator[str]:
    return (piece.text for piece in stream(model, tokenizer, ids, **settings) if piece.text)


def _reference(model: Any, tokenizer: Any, ids: list[int], count: int) -> str:
    tokens = model.generate(torch.tensor([ids]), max_new_tokens=count, do_sample=False, pad_token_id=0)
    return str(tokenizer.decode(tokens[0, len(ids) :], skip_special_tokens=True))


@pytest.mark.parametrize("architecture", (*ARCHITECTURES, *WITHOUT_FUSED_ATTENTION))
def test_greedy_text_is_that_of_transformers(architecture: Any, tmp_path: Path) -> None:
    model, tokenizer = _opened(tiny_model(tmp_path / "model", architecture))
    prompts = [tokenizer.encode(text) for text in (_PROMPT, "x", "A much longer line than the others: " * 3)]
    expected = [_reference(model, tokenizer, ids, 24) for ids in prompts]
    alone = ["".join(generate(model, tokenizer, ids, max_new_tokens=24)) for ids in prompts]
    assert alone == expected
    assert generate_batch(model, tokenizer, prompts, max_new_tokens=24) == expected


def test_a_seed_gives_the_same_text_again_and_another_seed_another(llama: tuple[Any, Any]) -> None:
    model, tokenizer = llama
    ids = tokenizer.encode(_PROMPT)

    def drawn(seed: int | None) -> str:
        return "".join(
            generate(model, tokenizer, ids, max_new_tokens=20, temperature=1.0, top_p=0.9, seed=seed)
        )

    assert drawn(7) == drawn(7)
    assert len({drawn(7), drawn(8), drawn(None), drawn(None)}) > 2


def test_a_tiny_probability_mass_leaves_the_likeliest_token_alone(llama: tuple[Any, Any]) -> None:
    model, tokenizer = llama
    ids = tokenizer.encode(_PROMPT)
    greedy = "".join(generate(model, tokenizer, ids, max_new_tokens=12))
    for settings in ({"temperature": 2.0, "top_p": 1e-9}, {"temperature": 1e-9}):
        assert "".join(generate(model, tokenizer, ids, max_new_tokens=12, seed=1, **settings)) == greedy


def test_draws_follow_the_probabilities(llama: tuple[Any, Any]) -> None:
    from tuneyard.llm.generation import _Picker

    pick = _Picker(1.0, 0.85, 0)
    logits = torch.tensor([0.1, 0.6, 0.3]).log()
    counts = torch.bincount(torch.tensor([pick(logits) for _ in range(2000)]), minlength=3)
    # The token of probability 0.1 lies beyond the mass of 0.85; the others keep their ratio.
    assert counts[0] == 0
    assert counts[1].item() / 2000 == pytest.approx(2 / 3, abs=0.04)


def test_generating_leaves_random_state_modes_and_gradients_alone(llama: tuple[Any, Any]) -> None:
    model, tokenizer = llama
    model.train()
    model.model.layers[0].eval()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    before = torch.get_rng_state()
    ids = tokenizer.encode(_PROMPT)
    text = "".join(generate(model, tokenizer, ids, max_new_tokens=5, temperature=1.0, seed=3))
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training and model.model.layers[1].training and not model.model.layers[0].training
    assert model(torch.tensor([ids]), use_cache=False).logits.requires_grad
    model.gradient_checkpointing_disable()
    model.eval()
    assert text == "".join(generate(model, tokenizer, ids, max_new_tokens=5, temperature=1.0, seed=3))


def test_leaving_early_restores_the_model(llama: tuple[Any, Any]) -> None:
    model, tokenizer = llama
    model.train()
    pieces = stream(model, tokenizer, tokenizer.encode(_PROMPT), max_new_tokens=50)
    next(pieces)
    assert not model.training
    pieces.close()  # type: ignore[attr-defined]
    assert model.training
    model.eval()


def test_the_check_runs_before_each_token_and_may_end_the_answer(llama: tuple[Any, Any]) -> None:
    model, tokenizer = llama
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 4:
            raise KeyError("enough")

    with pytest.raises(KeyError):
        list(stream(model, tokenizer, tokenizer.encode(_PROMPT), max_new_tokens=50, check=check))
    assert len(calls) == 4


def test_the_last_piece_says_why_the_answer_ends(llama: tuple[Any, Any]) -> None:
    model, tokenizer = llama
    ids = tokenizer.encode(_PROMPT)
    whole = list(stream(model, tokenizer, ids, max_new_tokens=8))
    assert [piece.ending for piece in whole[:-1]] == [""] * (len(whole) - 1)
    assert (whole[-1].ending, whole[-1].tokens) == ("length", 8)
    text = "".join(piece.text for piece in whole)
    stopped = list(stream(model, tokenizer, ids, max_new_tokens=8, stop=[text[4:7]]))
    assert stopped[-1].ending == "stop"
    assert "".join(piece.text for piece in stopped) == text[: text.index(text[4:7])]


def test_an_answer_ends_at_the_end_of_the_context(llama: tuple[Any, Any]) -> None:
    model, tokenizer = llama
    assert context_length(model) == 256
    ids = [5] * 250
    last = list(stream(model, tokenizer, ids, max_new_tokens=100))[-1]
    assert (last.ending, last.tokens) == ("context", 6)
    full = list(stream(model, tokenizer, [5] * 256, max_new_tokens=100))
    assert [(piece.text, piece.tokens, piece.ending) for piece in full] == [("", 0, "context")]


def test_an_end_of_sequence_token_ends_the_answer(llama: tuple[Any, Any]) -> None:
    model, tokenizer = llama
    ids = tokenizer.encode(_PROMPT)
    tokens = model.generate(torch.tensor([ids]), max_new_tokens=6, do_sample=False, pad_token_id=0)
    first, third = (int(tokens[0, len(ids) + at]) for at in (0, 2))
    model.generation_config.eos_token_id = [third, 1023]
    try:
        assert end_tokens(model, tokenizer) == {third, 1023, tokenizer.eos_token_id}
        last = list(stream(model, tokenizer, ids, max_new_tokens=6))[-1]
        assert last.ending == "eos"
        assert last.tokens == (0 if first == third else 2)
    finally:
        model.generation_config.eos_token_id = tokenizer.eos_token_id


def test_a_token_that_ends_turns_by_the_template_ends_the_answer(llama: tuple[Any, Any]) -> None:
    model, tokenizer = llama
    ids = tokenizer.encode(_PROMPT)
    tokens = model.generate(torch.tensor([ids]), max_new_tokens=6, do_sample=False, pad_token_id=0)
    fourth = int(tokens[0, len(ids) + 3])
    [*_, last] = stream(model, tokenizer, ids, max_new_tokens=6, ends=[fourth])
    assert last.ending == "eos"
    assert generate_batch(model, tokenizer, [ids], max_new_tokens=6, ends=[fourth]) == [
        "".join(generate(model, tokenizer, ids, max_new_tokens=6, ends=[fourth]))
    ]


def test_adapters_speak_and_are_silent_where_they_are_turned_off(llama: tuple[Any, Any]) -> None:
    model, tokenizer = llama
    ids = tokenizer.encode(_PROMPT)
    base = "".join(generate(model, tokenizer, ids, max_new_tokens=16))
    config = peft.LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    tuned = peft.get_peft_model(model, config)
    try:
        assert "".join(generate(tuned, tokenizer, ids, max_new_tokens=16)) != base
        with tuned.disable_adapter():
            assert "".join(generate(tuned, tokenizer, ids, max_new_tokens=16)) == base
    finally:
        tuned.unload()
