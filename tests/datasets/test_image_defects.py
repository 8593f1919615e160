"""A corpus of planted defects in image folders: every one is found at its place, and nothing else is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.defects_image_sets import SET_DEFECTS
from tests.support.defects_images import IMAGE_DEFECTS, Defect, clean_set, flat_set
from tuneyard.datasets import Report, check


@pytest.fixture(scope="module")
def clean() -> dict[str, bytes]:
    return clean_set()


@pytest.fixture(scope="module")
def all_planted(clean: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report about a set with every defect of single files."""
    files = dict(clean)
    for defect in IMAGE_DEFECTS:
        defect.plant(files)
    return check(written(files, tmp_path_factory.mktemp("planted")), format="image-folder")


def written(files: dict[str, bytes], root: Path) -> Path:
    for name, data in files.items():
        target = root / name
        folder = target if name.endswith("/") else target.parent
        folder.mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            target.write_bytes(data)
    return root


def places(report: Report) -> set[tuple[str, str | None]]:
    return {(finding.code, finding.path) for finding in report.findings}


def test_the_corpus_has_enough_kinds_of_different_names() -> None:
    names = {defect.name for defect in (*IMAGE_DEFECTS, *SET_DEFECTS)}
    assert len(names) == len(IMAGE_DEFECTS) + len(SET_DEFECTS) >= 40


@pytest.mark.parametrize("layout", [clean_set, flat_set])
def test_the_clean_sets_have_nothing_to_find(layout: Callable[[], dict[str, bytes]], tmp_path: Path) -> None:
    assert check(written(layout(), tmp_path), format="image-folder").findings == ()


@pytest.mark.parametrize("defect", IMAGE_DEFECTS, ids=lambda defect: defect.name)
def test_a_defect_of_a_file_is_found_among_all_others(defect: Defect, all_planted: Report) -> None:
    assert defect.places <= places(all_planted)


def test_nothing_is_found_that_was_not_planted(all_planted: Report) -> None:
    assert places(all_planted) == frozenset().union(*(defect.places for defect in IMAGE_DEFECTS))


def test_every_finding_says_what_is_wrong_and_what_to_do(all_planted: Report) -> None:
    for finding in all_planted.findings:
        assert finding.message.endswith(".") and finding.remedy.endswith(".")
        assert finding.path is None or repr(finding.path) in finding.message


@pytest.mark.parametrize("defect", SET_DEFECTS, ids=lambda defect: defect.name)
def test_a_defect_of_a_set_is_found_alone(defect: Defect, clean: dict[str, bytes], tmp_path: Path) -> None:
    files = dict(clean)
    defect.plant(files)
    assert places(check(written(files, tmp_path), format="image-folder")) == defect.places
