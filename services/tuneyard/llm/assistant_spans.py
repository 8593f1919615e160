"""Finds what the assistant says in a conversation that a chat template has rendered, to the character.

Works on text alone. Where a template does not mark it, a turn lies between what the template renders without
it and what it renders up to it; a turn whose place cannot be proven like that is not trained on.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuneyard.datasets.jsonl_rules import Message

Span = tuple[int, int]
Render = Callable[[Sequence[Message], bool], str]
"""Renders messages, with or without a prompt for the assistant to go on."""


class Spans(NamedTuple):
    """The assistant's turns in a rendered text."""

    proven: list[Span]
    unproven: int
    """Turns that the template writes differently once others follow; they are in no span."""


def spans_by_prefixes(
    render: Render, messages: Sequence[Message], whole: str, tokens: re.Pattern[str]
) -> Spans:
    """The turns of a conversation whose template marks none; `tokens` matches control tokens."""
    proven: list[Span] = []
    unproven = 0
    for number, message in enumerate(messages):
        if message.role != "assistant":
            continue
        begin = _begin(render, messages[:number], whole, tokens)
        end = _end(render, messages, number, whole, tokens)
        if begin is None or end is None or end <= begin:
            unproven += 1
        else:
            proven.append((begin, _end_of_turn(message.content.strip(), whole, begin, end, tokens)))
    return Spans(proven, unproven)


def with_ends(spans: Sequence[Span], whole: str, tokens: re.Pattern[str]) -> tuple[list[Span], str]:
    """The spans, each with the control token that ends its turn and without the white space behind that, and
    that token; "" where the template writes none after the last turn, so that the caller has to.
    """
    trimmed = [_without_space(span, whole, tokens) for span in spans]
    if not trimmed:
        return [], ""
    last = trimmed[-1][1]
    if ending := _ending_token(whole[trimmed[-1][0] : last], tokens):
        tail = ""
    else:
        found = tokens.search(whole, last)
        if found is None:
            return trimmed, ""
        ending, tail = found[0], whole[last : found.end()]
    # What ends the last turn ends each: behind an earlier one may follow another token at once.
    return [(begin, end + len(tail) * whole.startswith(tail, end)) for begin, end in trimmed], ending


def token_mask(spans: Sequence[Span], offsets: Sequence[Span], length: int) -> NDArray[np.bool_]:
    """Which tokens hold a character of a span, by the characters (start, stop) that each token stands for.

    A token over a border counts: it has something of the answer. One that stands for no character counts
    with the white space that was trimmed off it, or else with the token that follows.
    """
    inside = np.zeros(length + 1, dtype=np.int32)
    for begin, end in spans:
        inside[begin + 1 : end + 1] = 1
    sums = inside.cumsum()
    starts, stops = np.array(offsets, dtype=np.int64).reshape(-1, 2).T
    mask = sums[stops] > sums[starts]
    for place in np.flatnonzero(starts == stops)[::-1]:
        before = stops[place - 1] if place else 0
        if before < starts[place]:
            mask[place] = inside[starts[place]]
        else:
            mask[place] = place + 1 < len(mask) and mask[place + 1]
    return mask


def _begin(render: Render, before: Sequence[Message], whole: str, tokens: re.Pattern[str]) -> int | None:
    prompt = render(before, True)
    if whole.startswith(prompt):
        return len(prompt)
    bare = render(before, False)
    if not whole.startswith(bare):
        return None
    # The prompt holds more than what is written once an answer follows, such as the begin of a thought.
    return max(len(bare), _common(prompt, whole, tokens))


def _end(
    render: Render, messages: Sequence[Message], number: int, whole: str, tokens: re.Pattern[str]
) -> int | None:
    if number == len(messages) - 1:
        return len(whole)
    upto = render(messages[: number + 1], False)
    if whole.startswith(upto):
        return len(upto)
    # A template may end the conversation, not the turn, with one more token.
    cut = _common(upto, whole, tokens)
    answer = messages[number].content.strip()
    return cut if whole.rfind(answer, 0, cut) == upto.rfind(answer) >= 0 else None


def _end_of_turn(answer: str, whole: str, begin: int, end: int, tokens: re.Pattern[str]) -> int:
    """The end of the first control token behind the answer: what follows is no part of the turn."""
    place = whole.find(answer, begin, end)
    found = tokens.search(whole, place + len(answer), end) if place >= 0 else None
    return found.end() if found else end


def _common(one: str, other: str, tokens: re.Pattern[str]) -> int:
    """The length of the common beginning of two texts, cut back to where no control token is cut in two."""
    length, beyond = 0, min(len(one), len(other)) + 1
    while beyond - length > 1:
        middle = (length + beyond) // 2
        if one.startswith(other[:middle]):
            length = middle
        else:
            beyond = middle
    for text in (one, other):
        for found in tokens.finditer(text, max(0, length - 100)):
            if found.start() < length < found.end():
                length = found.start()
    return length


def _without_space(span: Span, whole: str, tokens: re.Pattern[str]) -> Span:
    begin, end = span
    said = whole[begin:end].rstrip()
    return (begin, begin + len(said)) if _ending_token(said, tokens) else span


def _ending_token(text: str, tokens: re.Pattern[str]) -> str:
    """The control token that a text ends with, or ""."""
    last = ""
    for found in tokens.finditer(text, max(0, len(text) - 100)):
        last = found[0] if found.end() == len(text) else ""
    return last
