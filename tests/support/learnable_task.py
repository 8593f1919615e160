"""A small task for language models, with rows held out: name the kinds of two words."""

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# Words that are single tokens of the tiny tokenizer: a model that has read for half a minute knows words, not
# spelling.
FIRST: Mapping[str, tuple[str, ...]] = {
    "text": ("string", "line", "name", "message", "keyword", "format"),
    "object": ("list", "dictionary", "tuple", "set", "instance", "class"),
    "file": ("directory", "path", "stream", "socket", "server", "module"),
    "method": ("function", "argument", "option", "command", "attribute", "parameter"),
}
SECOND: Mapping[str, tuple[str, ...]] = {
    "window": ("turtle", "widget", "header", "example"),
    "error": ("event", "state", "thread", "test"),
    "number": ("int", "integer", "value", "information"),
    "time": ("current", "mode", "order", "version"),
}
_QUESTIONS = (
    "There is a {first} and a {second}.",
    "Use the {first} with the {second}.",
    "Return the {second} from the {first}.",
    "When the {second} is set, call the {first}.",
)
_HELD_OUT_SHARE = 0.15

Row = dict[str, str]


@dataclass(frozen=True)
class LearnableTask:
    """Rows to learn from, and rows whose pairs of words never occur among them."""

    train: tuple[Row, ...]
    held_out: tuple[Row, ...]


def learnable_task(n: int, seed: int = 0, *, held_out: int = 60) -> LearnableTask:
    """Draws `n` rows to train on and `held_out` others: {"instruction", "response"}.

    A response names two kinds out of four and four: who has learned no more than the form guesses one in 16.
    """
    draw = random.Random(seed)
    pairs = [(first, second) for first in _kinds(FIRST) for second in _kinds(SECOND)]
    draw.shuffle(pairs)
    cut = round(len(pairs) * _HELD_OUT_SHARE)
    return LearnableTask(_rows(pairs[cut:], n, draw), _rows(pairs[:cut], held_out, draw))


def jsonl(rows: Iterable[Mapping[str, object]]) -> bytes:
    """The rows as a JSONL file."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _kinds(words: Mapping[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    return [(word, kind) for kind, group in words.items() for word in group]


def _rows(
    pairs: list[tuple[tuple[str, str], tuple[str, str]]], count: int, draw: random.Random
) -> tuple[Row, ...]:
    every = [(question, *pair) for pair in pairs for question in _QUESTIONS]
    if count > len(every):
        raise ValueError(f"there are {len(every)} different rows, not {count}")
    return tuple(
        {
            "instruction": question.format(first=first, second=second),
            "response": f"a {kind_of_first} and a {kind_of_second}",
        }
        for question, (first, kind_of_first), (second, kind_of_second) in draw.sample(every, count)
    )
