import random

import pytest

from tests.support.tiny_llm import tiny_tokenizer
from tuneyard.llm.text_stream import TextStream

_TEXTS = (
    "plain words",
    "naïve café — “quoted”",
    "日本語の文章です。",
    "👩‍👩‍👧 family 🏳️‍🌈",
    "\tx = {\n    'a': 1}\n",
)


def _pieces(stream: TextStream, tokens: list[int]) -> list[str]:
    return [*(stream.add(token) for token in tokens), stream.rest()]


@pytest.mark.parametrize("text", _TEXTS)
def test_pieces_add_up_to_the_text_and_hold_whole_characters(text: str) -> None:
    tokenizer = tiny_tokenizer()
    pieces = _pieces(TextStream(tokenizer), tokenizer.encode(text))
    assert "".join(pieces) == text
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


def test_random_tokens_read_as_when_they_are_decoded_at_once() -> None:
    tokenizer, drawn = tiny_tokenizer(), random.Random(1)
    for _ in range(50):
        tokens = [drawn.randrange(3, 1024) for _ in range(30)]
        whole = tokenizer.decode(tokens, skip_special_tokens=True)
        assert "".join(_pieces(TextStream(tokenizer), tokens)) == whole


def test_half_a_character_at_the_end_is_told_as_unreadable() -> None:
    tokenizer = tiny_tokenizer()
    tokens = tokenizer.encode("日")[:-1]
    assert _pieces(TextStream(tokenizer), tokens)[-1] == "\N{REPLACEMENT CHARACTER}"


def test_special_tokens_are_no_text() -> None:
    tokenizer = tiny_tokenizer()
    tokens = tokenizer.encode("one<|endoftext|> two")
    assert "".join(_pieces(TextStream(tokenizer), tokens)) == "one two"


@pytest.mark.parametrize("text", ["The answer.\nUser: more", "The answer.\nUser:"])
def test_a_stop_text_ends_the_answer_before_itself(text: str) -> None:
    tokenizer = tiny_tokenizer()
    stream = TextStream(tokenizer, ["\nUser:", "never"])
    told = []
    for token in tokenizer.encode(text):
        told.append(stream.add(token))
        if stream.is_stopped:
            break
    assert stream.is_stopped
    assert "".join(told) + stream.rest() == "The answer."


def test_what_may_become_a_stop_text_is_held_back_until_it_is_sure() -> None:
    tokenizer = tiny_tokenizer()
    stream = TextStream(tokenizer, ["###"])
    told = "".join(stream.add(token) for token in tokenizer.encode("one ##"))
    assert told == "one "
    assert told + stream.rest() == "one ##"
    assert not stream.is_stopped


def test_the_first_of_several_stop_texts_counts() -> None:
    tokenizer = tiny_tokenizer()
    stream = TextStream(tokenizer, ["two", "one"])
    told = "".join(stream.add(token) for token in tokenizer.encode("0 one two"))
    assert told == "0 "
