import io
from datetime import timedelta

import pytest
from rich.console import Console

from tuneyard.cli import formats


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 * 1024**4, "5.0 TiB")]
)
def test_sizes_are_in_binary_units(count: int, words: str) -> None:
    assert formats.size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (185, "3:05"), (3723, "1:02:03"), (-5, "0.0 s")]
)
def test_durations_are_short(seconds: float, words: str) -> None:
    assert formats.duration(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0.0000"),
        (0.97222, "0.9722"),
        (1e-4, "0.0001"),
        (9.05e-4, "0.000905"),
        (812.34, "812.3"),
        (3e9, "3e+09"),
    ],
)
def test_metrics_keep_what_says_something(value: float, words: str) -> None:
    assert formats.number(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(81234.4, "81,234 images/s"), (12.4, "12 images/s"), (1.46, "1.5 images/s"), (0.048, "0.048 images/s")],
)
def test_slow_rates_keep_what_says_something(value: float, words: str) -> None:
    assert formats.rate(value, "images") == words


def test_a_state_of_a_newer_server_is_shown_as_its_number() -> None:
    assert formats.state_word(99) == "99"


ROW = ("0198-a-long-identifier", "RUNNING", "a few words")


def printed(width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    console.print(formats.table(("job", "state", ""), [ROW]))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_table_that_fits_has_a_line_for_each_row() -> None:
    assert printed(80) == [
        "job                     state",
        "0198-a-long-identifier  RUNNING  a few words",
    ]


@pytest.mark.parametrize("width", [20, 30])
def test_a_table_that_does_not_fit_breaks_between_words_and_cuts_none(width: int) -> None:
    lines = printed(width)
    assert all(len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "0198-a-long-identifierstateRUNNINGafewwords"
    assert any("RUNNING" in line for line in lines)
