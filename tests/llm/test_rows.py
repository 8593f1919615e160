"""What a step learns from is the same however its samples are laid out in rows."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneyard.llm.rows import IGNORED, Rows, Sample, SampleOrder, micro_batches, pack

PAD = 999
MAX_LENGTH = 100


def sample(number: int, length: int, trained: list[bool] | None = None) -> Sample:
    """Tokens that tell the sample and the place in it."""
    ids = np.arange(length, dtype=np.int32) + number * 1000
    mask = np.ones(length, dtype=bool) if trained is None else np.array(trained, dtype=bool)
    mask[0] = False
    return Sample(ids, mask)


@st.composite
def sample_lists(draw: st.DrawFn) -> list[Sample]:
    lengths = draw(st.lists(st.integers(1, MAX_LENGTH), min_size=1, max_size=24))
    seed = draw(st.integers(0, 2**16))
    generator = np.random.default_rng(seed)
    return [
        sample(number, length, (generator.random(length) < 0.5).tolist())
        for number, length in enumerate(lengths, 1)
    ]


layouts = given(samples=sample_lists(), packing=st.booleans(), multiple=st.sampled_from([1, 8, 64]))


def laid_out(samples: list[Sample], packing: bool, multiple: int) -> list[Rows]:
    return pack(samples, max_length=MAX_LENGTH, packing=packing, pad_token=PAD, multiple=multiple)


def segments(row: Rows) -> list[tuple[list[int], list[int]]]:
    """Ids and targets of each sample in a row; the last one is followed by the padding."""
    starts = [*np.flatnonzero(row.positions[0] == 0).tolist(), row.length]
    return [
        (row.ids[0, start:stop].tolist(), row.targets[0, start:stop].tolist())
        for start, stop in itertools.pairwise(starts)
    ]


@layouts
def test_every_sample_is_in_one_row_once(samples: list[Sample], packing: bool, multiple: int) -> None:
    rows = laid_out(samples, packing, multiple)
    real = sorted(id for row in rows for id in row.ids.ravel().tolist() if id != PAD)
    assert real == sorted(id for each in samples for id in each.ids.tolist())
    assert sum(row.samples for row in rows) == len(samples)
    assert sum(row.tokens for row in rows) == sum(map(len, samples))


@layouts
def test_no_row_is_longer_than_the_maximum_and_few_lengths_occur(
    samples: list[Sample], packing: bool, multiple: int
) -> None:
    lengths = {row.length for row in laid_out(samples, packing, multiple)}
    assert all(
        length <= MAX_LENGTH and (length % multiple == 0 or length == MAX_LENGTH) for length in lengths
    )


@layouts
def test_a_sample_stays_whole_and_its_positions_begin_at_zero(
    samples: list[Sample], packing: bool, multiple: int
) -> None:
    known = {tuple(each.ids.tolist()) for each in samples}
    for row in laid_out(samples, packing, multiple):
        found = [tuple(id for id in ids if id != PAD) for ids, _ in segments(row)]
        assert set(found) <= known
        assert len(found) == row.samples
        assert all(row.positions[0, 1:] - row.positions[0, :-1] <= 1)


@layouts
def test_targets_are_the_next_tokens_that_are_trained_on(
    samples: list[Sample], packing: bool, multiple: int
) -> None:
    by_first = {int(each.ids[0]): each for each in samples}
    for row in laid_out(samples, packing, multiple):
        for ids, targets in segments(row):
            of = by_first[ids[0]]
            wanted = [int(id) if on else IGNORED for id, on in zip(of.ids[1:], of.trained[1:], strict=True)]
            assert targets == wanted + [IGNORED] * (len(ids) - len(wanted))
        assert row.trained_tokens == (row.targets != IGNORED).sum()


@layouts
def test_padding_comes_last_where_causal_attention_cannot_see_it(
    samples: list[Sample], packing: bool, multiple: int
) -> None:
    for row in laid_out(samples, packing, multiple):
        assert (row.ids[0, : row.tokens] != PAD).all()
        assert (row.ids[0, row.tokens :] == PAD).all()
        assert (row.targets[0, row.tokens - 1 :] == IGNORED).all()


@given(samples=sample_lists())
def test_packing_makes_no_more_rows_than_samples_and_is_repeatable(samples: list[Sample]) -> None:
    first, second = (laid_out(samples, True, 8) for _ in range(2))
    assert len(first) <= len(samples)
    assert [row.ids.tolist() for row in first] == [row.ids.tolist() for row in second]


def test_without_packing_a_row_has_one_sample_and_needs_no_mask() -> None:
    rows = laid_out([sample(1, 5), sample(2, 9)], False, 8)
    assert [row.samples for row in rows] == [1, 1]
    assert all((row.positions[0] == np.arange(row.length)).all() for row in rows)


def test_packing_fills_rows_evenly() -> None:
    rows = laid_out([sample(number, 24) for number in range(1, 7)], True, 8)
    assert [row.length for row in rows] == [72, 72]


@given(samples=sample_lists(), packing=st.booleans(), batch_size=st.integers(1, 5))
def test_micro_batches_hold_the_same_segments_in_at_most_so_many_rows(
    samples: list[Sample], packing: bool, batch_size: int
) -> None:
    rows = laid_out(samples, packing, 8)
    batches = micro_batches(rows, batch_size, pad_token=PAD)
    assert sum(map(len, batches)) == len(rows)
    assert all(1 <= len(batch) <= batch_size for batch in batches)
    assert sum(batch.trained_tokens for batch in batches) == sum(row.trained_tokens for row in rows)
    for batch in batches:
        assert (batch.targets != IGNORED).sum() == batch.trained_tokens
        assert (batch.ids != PAD).sum() == batch.tokens
        assert (batch.positions == 0).sum() == batch.samples


def test_smaller_micro_batches_compute_the_same_rows() -> None:
    rows = laid_out([sample(number, 40 + number) for number in range(1, 8)], True, 8)
    whole, halved = (micro_batches(rows, size, pad_token=PAD) for size in (4, 2))
    assert len(halved) > len(whole)

    def real(batches: list[Rows]) -> list[list[int]]:
        return [[id for id in row if id != PAD] for batch in batches for row in batch.ids.tolist()]

    assert real(whole) == real(halved)


@pytest.mark.parametrize("length", [0, MAX_LENGTH + 1])
def test_a_sample_of_impossible_length_is_refused(length: int) -> None:
    impossible = Sample(np.zeros(length, dtype=np.int32), np.zeros(length, dtype=bool))
    with pytest.raises(ValueError, match="1 to 100"):
        laid_out([impossible], True, 8)


@given(samples=st.integers(1, 60), size=st.integers(1, 20), seed=st.integers(-3, 10**12))
def test_an_epoch_takes_every_sample_once(samples: int, size: int, seed: int) -> None:
    order = SampleOrder(samples, samples_per_step=size, seed=seed)
    steps = order.steps_per_epoch
    for epoch in range(2):
        taken = [order.positions(epoch * steps + step) for step in range(1, steps + 1)]
        assert sorted(np.concatenate(taken).tolist()) == list(range(samples))
        assert all(len(each) == size for each in taken[:-1])


def test_the_order_follows_from_seed_and_step_alone() -> None:
    first, resumed = (SampleOrder(50, samples_per_step=8, seed=3) for _ in range(2))
    whole = [first.positions(step).tolist() for step in range(1, 15)]
    assert resumed.positions(14).tolist() == whole[13]
    assert resumed.positions(2).tolist() == whole[1]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    order, other = (SampleOrder(50, samples_per_step=50, seed=seed) for seed in (3, 4))
    orders = [order.positions(1), order.positions(2), other.positions(1)]
    assert len({tuple(each.tolist()) for each in orders}) == 3
