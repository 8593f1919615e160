import pytest
import torch

from tuneyard.llm import answers
from tuneyard.llm.answers import MAX_NEW_TOKENS, answer_all, end_answers_with
from tuneyard.llm.base_model import load_model, load_tokenizer
from tuneyard.llm.generation import end_tokens
from tuneyard.trainer.errors import Stop, Stopped

PROMPTS = [[40, 41, 42], [50, 51]]


@pytest.fixture
def tokenizer(tiny_base):
    return load_tokenizer(tiny_base)


@pytest.fixture
def model(tiny_base):
    return load_model(tiny_base, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture
def run(upload, start):
    return start(upload())


def test_a_prompt_is_always_answered_the_same_and_the_random_state_stays(model, tokenizer, run) -> None:
    state = torch.get_rng_state()
    first = answer_all(model.train(), tokenizer, PROMPTS, step=1, run=run)
    assert first == answer_all(model, tokenizer, PROMPTS, step=2, run=run)
    assert len(first) == 2 and torch.equal(torch.get_rng_state(), state)
    assert model.training


def test_a_long_answer_ends_in_an_ellipsis(model, tokenizer, run) -> None:
    (answer,) = answer_all(model, tokenizer, PROMPTS[:1], step=1, run=run)
    tokens = len(tokenizer.encode(answer.removesuffix("…")))
    assert answer.endswith("…") and tokens <= 2 * MAX_NEW_TOKENS


def test_answers_end_when_their_time_is_over(model, tokenizer, run, monkeypatch) -> None:
    monkeypatch.setattr(answers, "_SECONDS", -1.0)
    cut = answer_all(model, tokenizer, PROMPTS, step=1, run=run)
    monkeypatch.setattr(answers, "_SECONDS", 60.0)
    assert [len(answer) for answer in cut] < [
        len(answer) for answer in answer_all(model, tokenizer, PROMPTS, step=1, run=run)
    ]


def test_a_lack_of_memory_leaves_an_answer_out(model, tokenizer, run, monkeypatch) -> None:
    def none(*_, **__):
        raise MemoryError

    monkeypatch.setattr(answers, "stream", none)
    assert answer_all(model, tokenizer, PROMPTS, step=1, run=run) == ["", ""]
    assert [warning["code"] for warning in run.all_of("warning")] == ["no_room_to_answer"]


def test_a_cancelled_run_answers_no_further(model, tokenizer, run) -> None:
    run.request_stop(Stop.CANCEL)
    with pytest.raises(Stopped):
        answer_all(model, tokenizer, PROMPTS, step=3, run=run)


def test_a_templates_token_ends_answers(model, tokenizer) -> None:
    token = "<|im_start|>"
    assert tokenizer.get_vocab()[token] not in end_tokens(model, tokenizer)
    known = end_tokens(model, tokenizer)
    end_answers_with(model, tokenizer, token)
    assert end_tokens(model, tokenizer) == known | {tokenizer.get_vocab()[token]}


def test_a_text_that_is_no_token_changes_no_end(model, tokenizer) -> None:
    known = end_tokens(model, tokenizer)
    end_answers_with(model, tokenizer, "### End of it all")
    end_answers_with(model, tokenizer, "")
    assert end_tokens(model, tokenizer) == known
