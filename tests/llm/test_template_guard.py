"""Code that is not ours to trust ends in time, and leaves nothing behind."""

import resource
import threading

import pytest

from tuneyard.llm.template_guard import OutOfBounds, bounded


def test_an_endless_loop_is_ended() -> None:
    with pytest.raises(OutOfBounds, match=r"longer than 0\.05 seconds"), bounded(seconds=0.05):
        while True:
            pass


def test_a_loop_that_catches_everything_it_knows_is_ended() -> None:
    def stubborn() -> None:
        while True:
            try:
                sum(range(10))
            except Exception:
                continue

    with pytest.raises(OutOfBounds), bounded(seconds=0.05):
        stubborn()


def test_a_loop_in_another_thread_is_ended_there() -> None:
    ended: list[str] = []

    def work() -> None:
        try:
            with bounded(seconds=0.05):
                while True:
                    pass
        except OutOfBounds as error:
            ended.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert ended == ["takes longer than 0.05 seconds"]


def test_a_huge_allocation_is_refused_and_the_bound_lifted() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(OutOfBounds, match="memory"), bounded(seconds=10, extra_memory_bytes=64 << 20):
        bytearray(1 << 40)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert len(bytearray(128 << 20)) == 128 << 20


def test_what_ends_in_time_is_left_alone() -> None:
    for _ in range(50):
        with bounded(seconds=5, extra_memory_bytes=64 << 20):
            kept = "x" * 1000
    assert len(kept) == 1000


def test_errors_of_the_code_itself_come_through() -> None:
    with pytest.raises(KeyError), bounded(seconds=5):
        raise KeyError("own")


def test_time_that_runs_out_at_the_very_end_is_not_told_outside() -> None:
    # Races the end of the block against the timer: whatever wins, nothing is raised behind the block.
    for _ in range(200):
        try:
            with bounded(seconds=0.0005):
                sum(range(20_000))
        except OutOfBounds:
            pass
        sum(range(1000))
