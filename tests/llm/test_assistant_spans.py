"""Turns are found to the character, and characters become tokens."""

import re

import pytest

from tuneyard.llm.assistant_spans import token_mask, with_ends

TOKENS = re.compile(re.escape("</s>") + "|" + re.escape("<end>"))


def ended(text: str, *said: str) -> tuple[list[str], str]:
    """Spans of these parts of a text, with their ends."""
    spans = [(text.index(part), text.index(part) + len(part)) for part in said]
    found, ending = with_ends(spans, text, TOKENS)
    return [text[begin:end] for begin, end in found], ending


@pytest.mark.parametrize(
    ("text", "said", "wanted"),
    [
        ("Q: a A: one</s>Q: b A: two</s>", ("one</s>", "two</s>"), ["one</s>", "two</s>"]),
        ("Q: a A: one</s>Q: b A: two</s>", ("one", "two"), ["one</s>", "two</s>"]),
        ("Q: a A: one </s>Q: b A: two </s>\n", ("one", "two"), ["one </s>", "two </s>"]),
        ("Q: a A: one</s>\nQ: b A: two</s>\n", ("one</s>\n", "two</s>\n"), ["one</s>", "two</s>"]),
    ],
)
def test_each_answer_has_the_token_that_ends_it(text: str, said: tuple[str, ...], wanted: list[str]) -> None:
    assert ended(text, *said) == (wanted, "</s>")


def test_an_earlier_answer_is_ended_only_as_the_last_one_is() -> None:
    assert ended("A: one<end>Q: A: two</s>", "one", "two") == (["one", "two</s>"], "</s>")


def test_without_a_token_behind_it_an_answer_stays_open() -> None:
    assert ended("Q: a A: one\n", "one\n") == (["one\n"], "")
    assert with_ends([], "nothing said", TOKENS) == ([], "")


def test_tokens_over_a_border_count() -> None:
    assert token_mask([(3, 6)], [(0, 2), (2, 4), (4, 5), (5, 8), (8, 9)], 9).tolist() == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_a_token_without_characters_counts_with_its_trimmed_space_or_what_follows() -> None:
    # The space at 4 was trimmed off its token; the token at 6 stands before what follows.
    offsets = [(0, 4), (5, 5), (5, 6), (6, 6), (6, 9)]
    assert token_mask([(4, 6)], offsets, 9).tolist() == [False, True, True, False, False]
    assert token_mask([(6, 9)], offsets, 9).tolist() == [False, False, False, True, True]


def test_no_tokens_have_an_empty_mask() -> None:
    assert token_mask([], [], 0).tolist() == []
