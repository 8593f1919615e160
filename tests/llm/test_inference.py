"""Finished language models, asked as the inference worker asks them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.finished_llm import FinishedJob, finished_job
from tuneyard.llm.inference import conversation_faults, open_model
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.finished_model import BadInput, FinishedModel, InferenceError
from tuneyard.v1 import inference_service_pb2 as pb

Ask = Callable[..., list[pb.GenerateTextResponse]]


def _model(job: FinishedJob, **changes: Any) -> FinishedModel:
    model = FinishedModel(
        dir=job.artifacts,
        spec=job.spec,
        device="cpu",
        cpu_threads=1,
        base=lambda: job.base,
        base_sha256=job.base_sha256,
    )
    return replace(model, **changes)


def _asker(model: FinishedModel) -> Ask:
    answerer = open_model(model)

    def ask(*texts: str, check: Callable[[], None] = lambda: None, **settings: Any) -> Any:
        roles = ("user", "assistant")
        turns = [pb.ChatTurn(role=roles[at % 2], content=text) for at, text in enumerate(texts)]
        request = pb.GenerateTextRequest(messages=turns, **{"max_new_tokens": 12, **settings})
        pieces = answerer.answer("GenerateText", request.SerializeToString(), check=check)
        return [pb.GenerateTextResponse.FromString(piece) for piece in pieces]

    return ask


def _text(pieces: list[pb.GenerateTextResponse], *, from_base: bool = False) -> str:
    return "".join(piece.text for piece in pieces if piece.from_base == from_base)


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> FinishedJob:
    return finished_job(tmp_path_factory.mktemp("lora"))


@pytest.fixture(scope="module")
def ask(lora: FinishedJob) -> Ask:
    return _asker(_model(lora))


def _plain_transformers(folder: Path, question: str, adapter: Path | None = None) -> str:
    import peft

    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    if adapter:
        model = peft.PeftModel.from_pretrained(model, str(adapter))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_dict=False
    )
    tokens = model.generate(input_ids=torch.tensor([ids]), max_new_tokens=12, do_sample=False)
    return str(tokenizer.decode(tokens[0, len(ids) :], skip_special_tokens=True))


def test_an_adapter_answers_on_its_base_as_plain_peft_does(lora: FinishedJob, ask: Ask) -> None:
    pieces = ask("What is a list?", temperature=0, compare_with_base=True)
    tuned = _plain_transformers(lora.base, "What is a list?", lora.artifacts / "adapter")
    assert _text(pieces) == tuned
    assert _text(pieces, from_base=True) == _plain_transformers(lora.base, "What is a list?") != tuned


def test_a_model_that_was_trained_whole_answers_and_its_base_too(tmp_path: Path) -> None:
    job = finished_job(tmp_path, "full")
    fetched: list[Path] = []
    ask = _asker(_model(job, base=lambda: fetched.append(job.base) or job.base))
    alone = ask("What is a list?", temperature=0)
    assert _text(alone) == _plain_transformers(job.artifacts / "model", "What is a list?")
    assert not fetched
    both = ask("What is a list?", temperature=0, compare_with_base=True)
    assert _text(both, from_base=True) == _plain_transformers(job.base, "What is a list?")
    assert fetched


def test_a_quantised_base_carries_its_adapter(tmp_path: Path) -> None:
    ask = _asker(_model(finished_job(tmp_path, "qlora")))
    pieces = ask("What is a list?", temperature=0, compare_with_base=True)
    assert _text(pieces) != _text(pieces, from_base=True)
    assert _text(ask("What is a list?", temperature=0)) == _text(pieces)


def test_the_last_piece_of_each_model_says_how_it_ended(ask: Ask) -> None:
    pieces = ask("What is a list?", seed=5, compare_with_base=True)
    assert [piece.from_base for piece in pieces if piece.done] == [False, True]
    assert pieces[-1].done
    for last in (piece for piece in pieces if piece.done):
        assert (last.token_count, last.seed) == (12, 5)
        assert last.finish_reason == pb.FINISH_REASON_MAX_NEW_TOKENS
        assert last.prompt_token_count > 5
    counts = [piece.token_count for piece in pieces if not piece.from_base]
    assert counts == sorted(counts)


def test_a_seed_that_was_drawn_gives_the_answer_again(ask: Ask) -> None:
    first = ask("Tell me more.", temperature=1.5, max_new_tokens=20)
    again = ask("Tell me more.", temperature=1.5, max_new_tokens=20, seed=first[-1].seed)
    assert _text(again) == _text(first) != _text(ask("Tell me more.", temperature=1.5, max_new_tokens=20))


def test_a_stop_text_ends_the_answer(ask: Ask) -> None:
    whole = _text(ask("What is a list?", temperature=0))
    pieces = ask("What is a list?", temperature=0, stop=[whole[5:8]])
    assert _text(pieces) == whole[: whole.index(whole[5:8])]
    assert pieces[-1].finish_reason == pb.FINISH_REASON_STOP


def test_earlier_turns_change_the_answer(ask: Ask) -> None:
    alone = ask("And now?", temperature=0)
    later = ask("What is a list?", "A row of things.", "And now?", temperature=0)
    assert later[-1].prompt_token_count > alone[-1].prompt_token_count
    assert _text(later) != _text(alone)


def test_a_conversation_that_leaves_no_room_is_refused_with_both_numbers(ask: Ask) -> None:
    with pytest.raises(BadInput, match=r"messages: the conversation has \d+ tokens, and the model knows 512"):
        ask("word " * 400)


def test_an_answer_ends_where_the_context_is_full(ask: Ask) -> None:
    filler = ask("word " * 200)[-1].prompt_token_count
    pieces = ask("word " * 200, max_new_tokens=1000, temperature=0)
    assert pieces[-1].finish_reason == pb.FINISH_REASON_CONTEXT_FULL
    assert pieces[-1].token_count == 512 - filler


@pytest.mark.parametrize(
    ("turns", "fault"),
    [
        ([("narrator", "x")], (0, "role")),
        ([("user", "x"), ("system", "y"), ("user", "z")], None),
        ([("user", "x"), ("user", "y")], (1, "role")),
        ([("assistant", "x"), ("user", "y")], (0, "role")),
        ([("user", " \n")], (0, "content")),
        ([("user", "x"), ("assistant", "y")], (1, "role")),
        ([("system", "x")], (0, "role")),
        ([("system", "x"), ("user", "y")], ()),
    ],
)
def test_what_is_no_conversation_is_told_by_its_turn(
    turns: list[tuple[str, str]], fault: tuple[int, str] | tuple[()] | None
) -> None:
    found = list(conversation_faults([pb.ChatTurn(role=role, content=text) for role, text in turns]))
    if fault is None:
        assert found[0][:2] == (1, "role")
    else:
        assert [each[:2] for each in found] == ([fault] if fault else [])


def test_faults_name_the_field_of_the_request(ask: Ask) -> None:
    with pytest.raises(BadInput) as refused:
        ask("x", "y")
    assert [field for field, _ in refused.value.violations] == ["messages[1].role"]


def test_a_caller_who_leaves_ends_the_answer(ask: Ask) -> None:
    calls: list[int] = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        ask("What is a list?", check=check)
    assert len(calls) == 3


def test_a_base_that_left_the_store_is_named(lora: FinishedJob) -> None:
    with pytest.raises(RecipeError, match="models/tiny is no longer in the store") as refused:
        open_model(_model(lora, base=lambda: None, base_sha256=""))
    assert refused.value.reason == "BASE_MODEL_UNAVAILABLE"


def test_another_base_under_the_same_name_is_refused(lora: FinishedJob) -> None:
    with pytest.raises(RecipeError, match="holds other weights"):
        open_model(_model(lora, base_sha256="0" * 64))


def test_an_adapter_whose_weights_have_no_place_is_refused(lora: FinishedJob, tmp_path: Path) -> None:
    from tests.support.tiny_llm import tiny_llama

    deeper = tiny_llama(tmp_path / "deeper", layers=3)
    with pytest.raises(RecipeError, match="does not fit the base model: 4 "):
        open_model(_model(lora, base=lambda: deeper))


def test_a_base_that_does_not_fit_beside_the_tuned_model_is_said_to_be_too_large(tmp_path: Path) -> None:
    job = finished_job(tmp_path, "full")

    def too_large() -> Path:
        raise MemoryError

    ask = _asker(_model(job, base=too_large))
    with pytest.raises(RecipeError, match="does not fit into memory beside") as refused:
        ask("What is a list?", compare_with_base=True)
    assert refused.value.reason == "OUT_OF_MEMORY"
    assert ask("What is a list?")[-1].done


def test_artifacts_without_weights_are_no_model(lora: FinishedJob, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as refused:
        open_model(_model(lora, dir=tmp_path))
    assert refused.value.reason == "MODEL_NOT_FOUND"


def test_another_method_is_not_supported(lora: FinishedJob) -> None:
    with pytest.raises(InferenceError, match="call GenerateText"):
        list(open_model(_model(lora)).answer("Classify", b"", check=lambda: None))
