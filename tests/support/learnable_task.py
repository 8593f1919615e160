"""A small task for language models, with rows held out: name the kinds of a thing and of a place."""

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

THINGS: Mapping[str, tuple[str, ...]] = {
    "animal": ("fox", "horse", "spider", "cat", "goose", "whale"),
    "fruit": ("apple", "pear", "cherry", "melon", "plum", "lemon"),
    "tool": ("hammer", "saw", "shovel", "drill", "chisel", "wrench"),
    "garment": ("coat", "scarf", "hat", "shirt", "glove", "sock"),
}
PLACES: Mapping[str, tuple[str, ...]] = {
    "building": ("barn", "church", "palace", "school", "factory", "hotel"),
    "vehicle": ("truck", "boat", "train", "tractor", "bus", "canoe"),
    "vessel": ("bucket", "bottle", "kettle", "basket", "barrel", "jar"),
    "landscape": ("forest", "desert", "valley", "swamp", "meadow", "glacier"),
}
_QUESTIONS = (
    "There is a {thing} in the {place}. What and where?",
    "Name the kinds: a {thing}, seen near the {place}.",
    "The {place} holds a {thing}. Sort both.",
    "Yesterday we left the {thing} beside the {place}.",
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

    A response is two words out of four and four: who has learned no more than the form guesses one in 16.
    """
    draw = random.Random(seed)
    pairs = [(thing, place) for thing in _kinds(THINGS) for place in _kinds(PLACES)]
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
            "instruction": question.format(thing=thing, place=place),
            "response": f"{kind_of_thing}, {kind_of_place}",
        }
        for question, (thing, kind_of_thing), (place, kind_of_place) in draw.sample(every, count)
    )
