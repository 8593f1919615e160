"""Near duplicates: what is alike is found, what is not alike is not, and templates are seen through."""

import random
from collections.abc import Iterator

import numpy as np

from tests.support.defects_jsonl import sentence
from tuneyard.datasets.jsonl_duplicates import NearDuplicates, closest, copies, groups
from tuneyard.datasets.jsonl_rules import Message


def prose(count: int, *, sentences: int = 4, seed: int = 5) -> Iterator[str]:
    source = random.Random(seed)
    for _ in range(count):
        yield " ".join(sentence(source) for _ in range(sentences))


def similar(texts: list[str], *, prompt: str = "Go on.") -> list[tuple[int, int]]:
    near = NearDuplicates()
    for position, text in enumerate(texts):
        near.add(position, [Message("user", prompt), Message("assistant", text)])
    found = near.find()
    assert all(found.similarity >= 0.8)
    return [(earlier, later) for earlier, later in found.pairs.tolist()]


def test_texts_that_differ_in_a_few_words_are_found() -> None:
    originals = list(prose(300))
    changed = [text.replace("near the", "by the", 1) for text in originals]
    found = similar(originals + changed)
    assert len(found) >= 0.97 * 300
    assert all(later == earlier + 300 for earlier, later in found)


def test_texts_that_share_half_are_not_found() -> None:
    originals, others = list(prose(300)), list(prose(300, seed=6))
    half = [
        one[: len(one) // 2] + other[len(other) // 2 :] for one, other in zip(originals, others, strict=True)
    ]
    assert similar(originals + half) == []


def test_case_and_white_space_make_no_difference() -> None:
    (text,) = prose(1)
    assert similar([text, text.upper().replace(" ", "\n  ")]) == [(0, 1)]


def test_a_long_template_makes_nothing_alike() -> None:
    template = (
        "You are given a sentence. Say in one word whether its mood is glad or sad, and give no reason. " * 5
    )
    assert similar(list(prose(300, sentences=2)), prompt=template) == []


def test_a_template_does_not_hide_what_is_alike() -> None:
    texts = list(prose(300))
    found = similar([*texts, texts[7] + " Yes."], prompt="Please continue this story in your own words: " * 4)
    assert found == [(7, 300)]


def test_short_texts_are_not_compared() -> None:
    assert similar([f"Add {number} and 5." for number in range(50)]) == []


def test_texts_without_spaces_are_compared_too() -> None:
    source = random.Random(8)
    text = "".join(chr(source.randint(0x4E00, 0x9FFF)) for _ in range(200))
    assert similar([text, text[:100] + "好" + text[100:]]) == [(0, 1)]


def test_a_family_of_near_copies_is_not_compared_pair_by_pair() -> None:
    (text,) = prose(1, sentences=12, seed=9)
    found = similar([*prose(500), *(f"{text} {number}" for number in range(49))])
    assert {later for _, later in found} == set(range(501, 549))
    assert len(found) < 16 * 2 * 49


def test_examples_that_are_all_but_equal_everywhere_are_counted_instead() -> None:
    near = NearDuplicates()
    for number in range(400):
        near.add(number, [Message("user", f"{next(prose(1))} {number}"), Message("assistant", "Yes.")])
    assert len(near.find().pairs) == 0 and near.template_only == 400


def test_each_near_copy_is_told_of_once_and_copies_not_at_all() -> None:
    near = NearDuplicates()
    (text,) = prose(1, sentences=12)
    texts = [text, f"{text} One.", f"{text} Two.", text]
    for position, each in enumerate(texts):
        near.add(position, [Message("text", each)])
    told = closest(near.find(), apart_from=copies([1, 2, 3, 1]))
    assert [(pair.earlier, pair.later) for pair in told] == [(0, 1), (0, 2)]


def test_what_is_too_much_is_counted() -> None:
    near = NearDuplicates(max_searched=10)
    for position, text in enumerate(prose(13)):
        near.add(position, [Message("text", text)])
    assert len(near.find().pairs) == 0 and near.left_out == 3


def test_copies_are_paired_with_the_first() -> None:
    assert copies([5, 7, 5, 9, 7, 5]).tolist() == [[0, 2], [1, 4], [0, 5]]
    assert copies([]).tolist() == copies([1]).tolist() == []


def test_groups_are_what_pairs_connect() -> None:
    assert groups(7, np.array([(1, 4), (4, 6), (2, 3), (0, 3)])).tolist() == [0, 1, 0, 0, 1, 5, 1]
