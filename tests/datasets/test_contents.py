"""Numbers of contents are those that a dictionary would give."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from tuneyard.datasets.contents import Contents


def digest(value: int) -> bytes:
    return hashlib.sha256(str(value).encode()).digest()


def test_many_contents_are_numbered_in_the_order_of_their_first_file() -> None:
    contents, values = Contents(), [value * value % 2503 for value in range(5000)]
    expected: dict[int, int] = {}
    for value in values:
        assert contents.number(digest(value)) == expected.setdefault(value, len(expected))
    assert len(contents) == len(expected) > 1024


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40))
def test_contents_whose_places_collide_are_told_apart(parts: list[tuple[int, int]]) -> None:
    contents, expected = Contents(), dict[bytes, int]()
    for high, low in parts:
        # Equal in all bits that choose a place, but for the lowest ones.
        made = bytes([high, 0, 0, 0, 0, 0, 0, low, high, *range(23)])
        assert contents.number(made) == expected.setdefault(made, len(expected))
