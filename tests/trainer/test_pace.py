import pytest

from tuneyard.trainer.pace import Pace, TokenBucket


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def advance(pace: Pace, clock: Clock, *, steps: range, seconds_per_step: float) -> None:
    for step in steps:
        clock.now += seconds_per_step
        pace.advance(step, 4)


def test_nothing_is_known_after_one_step(clock: Clock) -> None:
    pace = Pace(clock)
    pace.advance(1, 4)
    assert pace.rate == 0
    assert pace.remaining_seconds(10) is None


@pytest.mark.parametrize("seconds_per_step", [0.001, 0.09, 1, 60])
def test_a_steady_run_has_its_rate(clock: Clock, seconds_per_step: float) -> None:
    pace = Pace(clock)
    advance(pace, clock, steps=range(1, 500), seconds_per_step=seconds_per_step)
    assert pace.rate == pytest.approx(4 / seconds_per_step)
    assert pace.remaining_seconds(10) == pytest.approx(10 * seconds_per_step)


def test_a_change_of_speed_shows_within_the_window(clock: Clock) -> None:
    pace = Pace(clock)
    advance(pace, clock, steps=range(1, 100), seconds_per_step=1)
    advance(pace, clock, steps=range(100, 1200), seconds_per_step=0.01)
    assert pace.rate == pytest.approx(400)


def test_a_resumed_run_is_not_credited_with_earlier_steps(clock: Clock) -> None:
    pace = Pace(clock)
    pace.advance(1000, 0)
    advance(pace, clock, steps=range(1001, 1011), seconds_per_step=1)
    assert pace.rate == pytest.approx(4)


def test_a_bucket_allows_a_burst_and_then_its_rate(clock: Clock) -> None:
    bucket = TokenBucket(burst=5, per_second=2, clock=clock)
    assert [bucket.take() for _ in range(7)] == [True] * 5 + [False] * 2
    clock.now = 1
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    clock.now = 1000
    assert sum(bucket.take() for _ in range(10)) == 5
