"""The automatic split of examples: its size, its seed, and that nothing leaks."""

import random
from pathlib import Path

import pytest

from tests.support.defects_jsonl import encoded, pairs
from tuneyard.datasets import Cancelled, Progress, jsonl
from tuneyard.datasets.jsonl import JsonlIndex
from tuneyard.datasets.jsonl_split import similar_groups, split


def written(folder: Path, examples: list[dict[str, str]]) -> JsonlIndex:
    (folder / "set.jsonl").write_bytes(encoded(examples))
    return jsonl.index(folder)


def instructions(index: JsonlIndex, positions: object) -> set[str]:
    return {index[position].messages[0].content for position in positions}  # type: ignore[attr-defined]


@pytest.mark.parametrize("share", [0.1, 0.15, 0.2])
def test_the_share_is_met_and_every_example_is_used_once(share: float, tmp_path: Path) -> None:
    divided = split(written(tmp_path, pairs(400)), validation_share=share, seed=1)
    assert len(divided.val) == 400 * share
    assert sorted([*divided.train, *divided.val]) == list(range(400))


def test_a_seed_means_one_split(tmp_path: Path) -> None:
    index = written(tmp_path, pairs(100))
    assert split(index, validation_share=0.1, seed=1) == split(index, validation_share=0.1, seed=1)
    assert split(index, validation_share=0.1, seed=1) != split(index, validation_share=0.1, seed=2)


def test_the_order_of_the_lines_does_not_matter(tmp_path: Path) -> None:
    examples = pairs(100)
    index = written(tmp_path, examples)
    before = instructions(index, split(index, validation_share=0.1, seed=1).val)
    random.Random(3).shuffle(examples)
    index = written(tmp_path, examples)
    assert instructions(index, split(index, validation_share=0.1, seed=1).val) == before


def test_copies_and_near_copies_stay_on_one_side(tmp_path: Path) -> None:
    examples = pairs(80)
    near = [{**pair, "response": f"{pair['response']} Indeed."} for pair in examples]
    index = written(tmp_path, [*examples, *near, *examples])
    seen: list[Progress] = []
    groups = similar_groups(index, progress=seen.append)
    divided = split(index, validation_share=0.2, seed=4, groups=groups)
    assert 40 <= len(divided.val) <= 48 and seen
    assert not instructions(index, divided.train) & instructions(index, divided.val)


def test_copies_stay_on_one_side_without_being_asked(tmp_path: Path) -> None:
    index = written(tmp_path, pairs(30) * 3)
    divided = split(index, validation_share=0.1, seed=4)
    assert not instructions(index, divided.train) & instructions(index, divided.val)


def test_a_file_of_its_own_for_validation_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(encoded(pairs(10)))
    (tmp_path / "val.jsonl").write_bytes(encoded(pairs(5, seed=2)))
    divided = split(jsonl.index(tmp_path), validation_share=0.2, seed=1)
    assert sorted([*divided.train, *divided.val]) == list(range(10))


def test_large_groups_leave_at_least_one_on_each_side(tmp_path: Path) -> None:
    index = written(tmp_path, [*pairs(1)] * 6 + [*pairs(1, seed=2)] * 4)
    divided = split(index, validation_share=0.1, seed=1)
    assert (len(divided.train), len(divided.val)) == (6, 4)


def test_what_cannot_be_split_is_refused(tmp_path: Path) -> None:
    index = written(tmp_path, pairs(1) * 5)
    with pytest.raises(ValueError, match="two different"):
        split(index, validation_share=0.1, seed=1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        split(index, validation_share=1.0, seed=1)


def test_grouping_can_be_stopped(tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        similar_groups(written(tmp_path, pairs(3)), should_stop=lambda: True)
