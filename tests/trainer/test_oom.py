import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.fake_run import FakeRun
from tuneyard.trainer.oom import (
    MicroBatching,
    OptimizerOutOfMemory,
    free_memory,
    is_out_of_memory,
    optimizer_step,
)
from tuneyard.trainer.run import AdviceKind


class OutOfMemoryError(RuntimeError):
    """Named as torch's own is."""


class Step:
    """A step over samples whose gradients, and random state, must be as if it had happened once."""

    def __init__(self, failures: list[bool]) -> None:
        self.failures = list(failures)
        self.seen: list[int] = []
        self.weight = 0.0
        self.random = 7

    def work(self, samples: list[int], weight: float) -> int:
        self.random += len(samples)
        self.seen += samples
        self.weight += weight
        if self.failures and self.failures.pop(0):
            raise OutOfMemoryError("no memory")
        return len(samples)

    def snapshot(self) -> int:
        return self.random

    def restore(self, random: int) -> None:
        self.random, self.seen, self.weight = random, [], 0.0


def micro_batching(root: Path, *, batch_size: int, accumulation: int = 1, halvings: int = 0) -> MicroBatching:
    run = FakeRun(root=root, micro_batch_halvings=halvings)
    return MicroBatching(run, batch_size=batch_size, gradient_accumulation_steps=accumulation)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> pytest.TempPathFactory:
    return tmp_path_factory


# Each failure collects garbage, which takes long where torch is loaded: hence few examples.
@settings(max_examples=25)
@given(
    cut=st.tuples(st.integers(1, 64), st.integers(1, 5), st.integers(0, 4)),
    count=st.integers(1, 200),
    failures=st.lists(st.booleans(), max_size=40),
)
def test_whatever_fails_each_sample_counts_exactly_once(
    folders: pytest.TempPathFactory, cut: tuple[int, int, int], count: int, failures: list[bool]
) -> None:
    batch_size, accumulation, halvings = cut
    micro = micro_batching(
        folders.mktemp("run"), batch_size=batch_size, accumulation=accumulation, halvings=halvings
    )
    samples = list(range(min(count, micro.samples_per_step)))
    step = Step(failures)
    try:
        sizes = micro.run_step(1, samples, step.work, snapshot=step.snapshot, restore=step.restore)
    except RecipeError as error:
        assert error.reason == "OUT_OF_MEMORY" and True in failures
        return
    assert step.seen == samples
    assert step.weight == pytest.approx(1)
    assert step.random == 7 + len(samples)
    assert sum(sizes) == len(samples) and max(sizes) <= micro.batch_size
    assert micro.samples_per_step == batch_size * accumulation


def test_a_failed_step_halves_the_micro_batch_and_tells_it(tmp_path: Path) -> None:
    run = FakeRun(root=tmp_path)
    micro = MicroBatching(run, batch_size=8, gradient_accumulation_steps=2)
    step = Step([False, True])
    assert (
        micro.run_step(3, list(range(16)), step.work, snapshot=step.snapshot, restore=step.restore) == [4] * 4
    )
    assert (micro.batch_size, micro.gradient_accumulation_steps) == (4, 4)
    assert run.all_of("out_of_memory_recovered") == [
        {"step": 3, "old_batch_size": 8, "new_batch_size": 4, "gradient_accumulation_steps": 4}
    ]


def test_a_recovery_advises_the_guides_remedies_in_their_order(tmp_path: Path) -> None:
    run = FakeRun(root=tmp_path)
    micro, step = MicroBatching(run, batch_size=4), Step([True, True])
    micro.run_step(3, list(range(4)), step.work, snapshot=step.snapshot, restore=step.restore)
    advice = run.all_of("advice")[0]
    assert advice["kind"] is AdviceKind.MEMORY and "step 3" in advice["observation"]
    assert advice["changes"]["hyperparameters.batch_size"] == 2
    assert "batch_size" in advice["remedies"][0] and "smaller base model" in advice["remedies"][-1]


def test_a_task_names_its_own_remedies(tmp_path: Path) -> None:
    run = FakeRun(root=tmp_path)
    micro, step = MicroBatching(run, batch_size=2, remedies=("Draw smaller.",)), Step([True] * 2)
    with pytest.raises(RecipeError) as failed:
        micro.run_step(3, [1, 2], step.work, snapshot=step.snapshot, restore=step.restore)
    assert failed.value.remedies == ("Draw smaller.",) == run.all_of("advice")[0]["remedies"]


def test_a_short_last_batch_halves_until_its_pieces_are_smaller(tmp_path: Path) -> None:
    micro = micro_batching(tmp_path, batch_size=32)
    step = Step([True])
    assert micro.run_step(1, [1, 2, 3], step.work, snapshot=step.snapshot, restore=step.restore) == [2, 1]
    assert micro.batch_size == 2


def test_a_sample_that_does_not_fit_alone_fails_with_remedies(tmp_path: Path) -> None:
    micro = micro_batching(tmp_path, batch_size=4)
    step = Step([True] * 9)
    with pytest.raises(RecipeError) as caught:
        micro.run_step(1, [1, 2, 3, 4], step.work, snapshot=step.snapshot, restore=step.restore)
    assert caught.value.reason == "OUT_OF_MEMORY" and caught.value.remedies


def test_other_errors_pass_through(tmp_path: Path) -> None:
    def broken(samples: list[int], weight: float) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        micro_batching(tmp_path, batch_size=4).run_step(
            1, [1], broken, snapshot=lambda: None, restore=lambda state: None
        )


def test_earlier_halvings_count_from_the_start(tmp_path: Path) -> None:
    micro = micro_batching(tmp_path, batch_size=8, halvings=2)
    assert (micro.batch_size, micro.gradient_accumulation_steps) == (2, 4)


def test_a_failed_update_is_told_apart() -> None:
    def update() -> None:
        raise OutOfMemoryError

    with pytest.raises(OptimizerOutOfMemory):
        optimizer_step(update)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OutOfMemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_is_recognised(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


class Large:
    """What a call has at hand when memory runs out."""


def runs_out(seen: list[weakref.ref[Large]]) -> None:
    tensor = Large()
    seen.append(weakref.ref(tensor))
    raise MemoryError


def runs_out_in_a_generator(seen: list[weakref.ref[Large]]) -> None:
    def pieces() -> Iterator[int]:
        yield 1
        runs_out(seen)

    list(pieces())


def runs_out_and_is_told_otherwise(seen: list[weakref.ref[Large]]) -> None:
    try:
        runs_out(seen)
    except MemoryError as error:
        raise RuntimeError("out of memory") from error


@pytest.mark.parametrize(
    "work",
    [runs_out, runs_out_in_a_generator, runs_out_and_is_told_otherwise],
    ids=lambda work: work.__name__,
)
def test_what_did_not_fit_is_let_go_of_while_its_error_is_handled(
    work: Callable[[list[weakref.ref[Large]]], None],
) -> None:
    seen: list[weakref.ref[Large]] = []
    with pytest.raises((MemoryError, RuntimeError)) as raised:
        try:
            work(seen)
        except Exception:
            assert seen[0]() is not None
            free_memory()
            assert seen[0]() is None
            raise
    assert raised.traceback


def test_memory_is_freed_where_no_error_is_handled() -> None:
    free_memory()
