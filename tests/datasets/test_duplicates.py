"""Groups of equal files, as a split needs them."""

from collections.abc import Callable
from pathlib import Path

from tuneyard.datasets import content_groups, open_source, stratified_split


def test_files_share_a_group_exactly_if_they_are_equal(write_folder: Callable[..., Path]) -> None:
    root = write_folder({"a/1.png": b"x", "a/2.png": b"y", "b/1.png": b"x", "b/2.png": b"z"})
    source = open_source(root)
    assert content_groups(source, source.names()) == [0, 1, 0, 2]


def test_copies_stay_on_one_side_of_a_split(write_folder: Callable[..., Path]) -> None:
    root = write_folder({f"a/{number}.png": bytes([number // 2]) for number in range(20)})
    source = open_source(root)
    groups = content_groups(source, source.names())
    train, val = stratified_split([0] * 20, groups, val_fraction=0.2, seed=3)
    assert len(val) == 4
    assert not {groups[i] for i in train} & {groups[i] for i in val}
