"""Wrong tokens of calls: how many are looked at, whom they keep out, and whom not."""

import pytest

from tuneyard.rpc.attempts import KNOWN_SECONDS, MOST_ADDRESSES, MOST_WRONG, SECONDS, Attempts
from tuneyard.rpc.errors import TuneyardError

HERE, HERE_AGAIN, THERE = "ipv4:192.0.2.1:4711", "ipv4:192.0.2.1:4712", "ipv4:192.0.2.2:4711"


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def attempts(clock: Clock) -> Attempts:
    return Attempts(now=clock)


def wrong(attempts: Attempts, peer: str, token: str = "x") -> TuneyardError:
    with pytest.raises(TuneyardError) as caught:
        attempts.admit(peer, token.encode(), is_right=False)
    return caught.value


def right(attempts: Attempts, peer: str) -> str:
    try:
        attempts.admit(peer, b"t", is_right=True)
    except TuneyardError as error:
        return error.reason
    return ""


def guess(attempts: Attempts, peer: str, times: int = MOST_WRONG) -> None:
    for number in range(times):
        assert wrong(attempts, peer, f"guess {number}").reason == "UNAUTHENTICATED"


def test_after_some_different_ones_none_is_looked_at_until_the_minute_is_over(
    attempts: Attempts, clock: Clock
) -> None:
    guess(attempts, HERE)
    clock.seconds += 20
    refused = wrong(attempts, HERE_AGAIN, "another")
    assert refused.reason == right(attempts, HERE) == "TOO_MANY_REQUESTS"
    assert refused.retry_after is not None
    assert refused.retry_after.total_seconds() == SECONDS - 20
    clock.seconds += SECONDS - 20
    assert right(attempts, HERE) == ""


def test_others_are_heard(attempts: Attempts) -> None:
    guess(attempts, HERE)
    assert right(attempts, THERE) == ""


def test_a_program_with_an_old_token_is_told_so_each_time_and_keeps_nobody_out(attempts: Attempts) -> None:
    for _ in range(5 * MOST_WRONG):
        assert wrong(attempts, HERE).reason == "UNAUTHENTICATED"
    assert right(attempts, HERE) == ""


def test_whoever_had_the_right_one_is_heard_beside_somebody_who_guesses(
    attempts: Attempts, clock: Clock
) -> None:
    assert right(attempts, HERE) == ""
    guess(attempts, HERE)
    assert right(attempts, HERE) == ""
    assert wrong(attempts, HERE, "another").reason == "TOO_MANY_REQUESTS"
    clock.seconds += KNOWN_SECONDS
    guess(attempts, HERE)
    assert right(attempts, HERE) == "TOO_MANY_REQUESTS"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ipv6:%5B2001:db8::1%5D:1", "ipv6:%5B2001:db8::2:3%5D:2"),
        ("ipv6:%5B::ffff:192.0.2.1%5D:1", HERE),
        ("unix:/run/a", "unix:/run/a"),
    ],
)
def test_who_has_one_address_of_a_network_has_all_of_it(attempts: Attempts, one: str, other: str) -> None:
    guess(attempts, one)
    assert right(attempts, other) == "TOO_MANY_REQUESTS"


def test_of_addresses_a_bounded_number_is_kept_and_those_with_a_right_one_stay(attempts: Attempts) -> None:
    assert right(attempts, HERE) == ""
    for number in range(2 * MOST_ADDRESSES):
        wrong(attempts, f"ipv4:10.{number >> 8}.0.{number & 255}:1")
    guess(attempts, HERE)
    assert right(attempts, HERE) == ""
