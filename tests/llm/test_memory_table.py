import sys
from pathlib import Path

import pytest

from tuneyard.llm.memory_table import Row, as_markdown, rows

BOUND = 0.15


@pytest.fixture(scope="module")
def table() -> list[Row]:
    return list(rows())


def test_the_guide_s_table_is_reproduced_under_its_assumptions(table: list[Row]) -> None:
    for row in table:
        for guide, ours in zip(row.guide, row.as_the_guide, strict=True):
            assert abs(ours / guide - 1) < BOUND, row


def test_adapters_of_the_presets_stay_below_the_guide_s_100_mb(table: list[Row]) -> None:
    assert all(row.adapter_megabytes < 100 for row in table)


def test_full_fine_tuning_with_fp32_weights_needs_more_than_the_guide_says(table: list[Row]) -> None:
    for row in table:
        assert row.full < row.ours_full_8bit < row.ours_full


def test_both_tables_stand_in_the_documentation_as_they_are_predicted() -> None:
    sys.stdout.write(f"\n{as_markdown()}\n")
    page = (Path(__file__).parents[2] / "docs" / "memory.md").read_text(encoding="utf-8")
    assert all(table in page for table in as_markdown().split("\n\n"))
