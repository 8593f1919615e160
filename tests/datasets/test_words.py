"""Numbers of things, as people read them."""

import pytest

from tuneyard.datasets.words import counted


@pytest.mark.parametrize(
    ("count", "noun", "told"),
    [
        (0, "image", "0 images"),
        (1, "image", "1 image"),
        (2, "held-out sample", "2 held-out samples"),
        (1, "class", "1 class"),
        (3, "class", "3 classes"),
    ],
)
def test_a_noun_goes_with_its_number(count: int, noun: str, told: str) -> None:
    assert counted(count, noun) == told
