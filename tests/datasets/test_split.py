"""Properties that every split and subset must have, whatever the labels and groups."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneyard.datasets import stratified_split, stratified_subset

labels_and_groups = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), min_size=1, max_size=120)
fractions = st.floats(0.01, 0.99)
seeds = st.integers(0, 2**63)


@given(labels_and_groups, fractions, seeds)
def test_a_split_is_a_partition(samples: list[tuple[int, int]], fraction: float, seed: int) -> None:
    labels, groups = [label for label, _ in samples], [group for _, group in samples]
    train, val = stratified_split(labels, groups, val_fraction=fraction, seed=seed)
    assert sorted(train + val) == list(range(len(samples)))
    assert train == sorted(train) and val == sorted(val)


@given(labels_and_groups, fractions, seeds)
def test_no_group_is_on_both_sides(samples: list[tuple[int, int]], fraction: float, seed: int) -> None:
    labels, groups = [label for label, _ in samples], [group for _, group in samples]
    train, val = stratified_split(labels, groups, val_fraction=fraction, seed=seed)
    assert not {groups[i] for i in train} & {groups[i] for i in val}


@given(labels_and_groups, fractions, seeds)
def test_a_class_with_two_groups_of_its_own_is_on_both_sides(
    samples: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    labels = [label for label, _ in samples]
    groups = samples  # the label is part of the group, so that every group has one class
    train, val = stratified_split(labels, groups, val_fraction=fraction, seed=seed)
    own = defaultdict(set)
    for label, group in zip(labels, groups, strict=True):
        own[label].add(group)
    for label, different in own.items():
        assert (label in {labels[i] for i in val}) == (len(different) > 1)
        assert label in {labels[i] for i in train}


@given(labels_and_groups, fractions, seeds)
def test_a_group_of_several_classes_is_never_validated_on(
    samples: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    labels, groups = [label for label, _ in samples], [group for _, group in samples]
    _, val = stratified_split(labels, groups, val_fraction=fraction, seed=seed)
    for group in {groups[i] for i in val}:
        assert len({label for label, other in samples if other == group}) == 1


@given(st.lists(st.integers(2, 200), min_size=1, max_size=6), st.floats(0.1, 0.2), seeds)
def test_each_class_gives_its_share(sizes: list[int], fraction: float, seed: int) -> None:
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    _, val = stratified_split(labels, val_fraction=fraction, seed=seed)
    counts = Counter(labels[i] for i in val)
    assert [counts[label] for label in range(len(sizes))] == [
        max(1, round(fraction * size)) for size in sizes
    ]


def test_a_seed_means_the_same_split_for_ever() -> None:
    labels = [number % 3 for number in range(30)]
    assert stratified_split(labels, val_fraction=0.2, seed=7)[1] == [3, 4, 7, 12, 20, 26]
    assert stratified_subset(labels, max_samples=7, seed=7) == [3, 4, 7, 12, 18, 20, 26]


def test_another_seed_gives_another_split() -> None:
    labels = [0] * 100
    assert stratified_split(labels, val_fraction=0.2, seed=1) != stratified_split(
        labels, val_fraction=0.2, seed=2
    )


def test_a_large_group_does_not_crowd_out_small_ones() -> None:
    groups = [0] * 90 + list(range(1, 11))
    _, val = stratified_split([0] * 100, groups, val_fraction=0.1, seed=0)
    assert len(val) == 10 and 0 not in {groups[i] for i in val}


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_outside_0_to_1_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="val_fraction"):
        stratified_split([0, 1], val_fraction=fraction, seed=0)


def test_groups_must_be_as_many_as_labels() -> None:
    with pytest.raises(ValueError):
        stratified_split([0, 1], [0], val_fraction=0.5, seed=0)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=150), st.integers(6, 200), seeds)
def test_a_subset_has_the_size_asked_for_and_every_class(
    labels: list[int], max_samples: int, seed: int
) -> None:
    kept = stratified_subset(labels, max_samples=max_samples, seed=seed)
    assert len(kept) == len(set(kept)) == min(max_samples, len(labels))
    assert {labels[i] for i in kept} == set(labels)


@given(st.lists(st.integers(1, 100), min_size=2, max_size=6), seeds)
def test_a_subset_keeps_proportions(sizes: list[int], seed: int) -> None:
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    keep = max(len(sizes), len(labels) // 2)
    counts = Counter(labels[i] for i in stratified_subset(labels, max_samples=keep, seed=seed))
    for label, size in enumerate(sizes):
        assert abs(counts[label] - keep * size / len(labels)) < len(sizes) + 1


def test_a_subset_smaller_than_the_number_of_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="3 classes"):
        stratified_subset([0, 1, 2, 2], max_samples=2, seed=0)
