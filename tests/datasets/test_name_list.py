import sys

import pytest

from tuneyard.datasets.name_list import NameList

NAMES = ("a-b/1.png", "a.png", "a/1.png", "a/2.png", "é/1.png", "猫.png", "😀")


def test_a_list_is_what_a_tuple_of_the_names_would_be() -> None:
    names = NameList(NAMES)
    assert names == NAMES and tuple(names) == NAMES and len(names) == 7
    assert (names[0], names[-1], names[1:3], names[5:99]) == (
        NAMES[0],
        NAMES[-1],
        [*NAMES[1:3]],
        [*NAMES[5:]],
    )
    assert all(name in names and names.position(name) == at for at, name in enumerate(NAMES))
    assert NameList() == () and not NameList()


@pytest.mark.parametrize("absent", ["", "a", "a/3.png", "😀😀", 7])
def test_what_is_not_there_is_not_found(absent: object) -> None:
    assert absent not in NameList(NAMES)
    with pytest.raises(IndexError):
        NameList(NAMES)[7]


def test_a_prefix_of_all_is_cut_off_without_a_copy() -> None:
    below = NameList(["é/a", "é/b/c"]).below("é/")
    assert below == ("a", "b/c") and "b/c" in below and below.below("") == below


@pytest.mark.parametrize("names", [["b", "a"], ["a", "a"]])
def test_names_that_are_not_sorted_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="does not come after"):
        NameList(names)


def test_a_name_takes_little_more_than_its_characters() -> None:
    names = NameList(f"class/{number:08}.png" for number in range(10_000))
    assert sum(map(sys.getsizeof, (names._block, names._ends))) < 10_000 * (18 + 8) * 1.2
