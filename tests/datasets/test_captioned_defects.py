"""A corpus of planted defects in captioned images: every one is found at its place, and nothing else is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.defects_captioned import (
    FILE_DEFECTS,
    METADATA_DEFECTS,
    SET_DEFECTS,
    CaptionedDefect,
    Files,
    clean_set,
    kohya_set,
    metadata_set,
)
from tuneyard.datasets import Report, check

Write = Callable[..., Path]
ALL = (*FILE_DEFECTS, *SET_DEFECTS, *METADATA_DEFECTS)


def places(report: Report) -> set[tuple[str, str | None, int | None]]:
    return {(finding.code, finding.path, finding.line) for finding in report.findings}


def checked(path: Path) -> Report:
    return check(path, format="captioned-images")


@pytest.fixture(scope="module")
def all_planted(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report about a set with every defect of single files."""
    files, root = clean_set(), tmp_path_factory.mktemp("planted")
    for defect in FILE_DEFECTS:
        defect.plant(files)
    for name, data in files.items():
        (root / name).write_bytes(data)
    return checked(root)


def test_the_corpus_has_enough_kinds_of_different_names() -> None:
    assert len({defect.name for defect in ALL}) == len(ALL) >= 35


@pytest.mark.parametrize("layout", [clean_set, metadata_set, kohya_set])
def test_the_clean_sets_have_nothing_to_find(layout: Callable[[], Files], write_zip: Write) -> None:
    report = checked(write_zip(layout(), prefix="set/", method=0))
    assert report.findings == () and report.samples == 20


@pytest.mark.parametrize("defect", FILE_DEFECTS, ids=lambda defect: defect.name)
def test_a_defect_of_a_file_is_found_among_all_others(defect: CaptionedDefect, all_planted: Report) -> None:
    assert defect.places <= places(all_planted)


def test_nothing_is_found_that_was_not_planted(all_planted: Report) -> None:
    assert places(all_planted) == frozenset().union(*(defect.places for defect in FILE_DEFECTS))


def test_every_finding_says_what_is_wrong_and_what_to_do(all_planted: Report) -> None:
    for finding in all_planted.findings:
        assert finding.message.endswith(".") and finding.remedy.endswith(".")


@pytest.mark.parametrize("defect", SET_DEFECTS, ids=lambda defect: defect.name)
def test_a_defect_of_a_set_is_found_alone(defect: CaptionedDefect, write_folder: Write) -> None:
    files = clean_set()
    defect.plant(files)
    assert places(checked(write_folder(files))) == defect.places


@pytest.mark.parametrize("defect", METADATA_DEFECTS, ids=lambda defect: defect.name)
def test_a_defect_of_metadata_is_found_alone(defect: CaptionedDefect, write_folder: Write) -> None:
    files = metadata_set()
    defect.plant(files)
    assert places(checked(write_folder(files))) == defect.places
