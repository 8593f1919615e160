"""Findings, their caps, and the JSON form of a report."""

import json

import pytest

from tuneyard.datasets import Code, Finding, Report, Severity, SplitSummary
from tuneyard.datasets.report import FindingLog


@pytest.fixture
def report() -> Report:
    return Report(
        format="image-folder",
        findings=(Finding.of(Code.IMAGE_TRUNCATED, "cut off", path="train/ä/1.png", line=None),),
        counts={"IMAGE_TRUNCATED": 1},
        classes=("ä", "b"),
        splits={"train": SplitSummary(samples=2, per_class={"ä": 1, "b": 1})},
        excluded=("train/ä/1.png",),
        samples=2,
        median_width=640,
        median_height=480,
        sides={512: 1, 1024: 1},
        files={"total": 3, "images": 3},
    )


def test_a_report_survives_json(report: Report) -> None:
    assert Report.from_json(report.to_json()) == report


def test_the_figures_of_a_finding_survive_json() -> None:
    finding = Finding.of(Code.EXAMPLES_FEW, "Only 12.", figures={"examples": 12, "least": 100})
    assert finding.figures == {"examples": "12", "least": "100"}
    kept = Report.from_json(Report(format="jsonl", findings=(finding,)).to_json())
    assert kept.findings == (finding,)


def test_the_json_names_what_a_reader_of_findings_needs(report: Report) -> None:
    value = json.loads(report.to_json())
    assert value["findings"] == [
        {
            "code": "IMAGE_TRUNCATED",
            "severity": "WARNING",
            "path": "train/ä/1.png",
            "line": None,
            "message": "cut off",
            "remedy": value["findings"][0]["remedy"],
        }
    ]
    assert value["counts"] == {"IMAGE_TRUNCATED": 1}
    assert value["splits"]["train"] == {"samples": 2, "per_class": {"ä": 1, "b": 1}}


def test_only_an_error_makes_a_report_one_with_errors(report: Report) -> None:
    assert not report.has_errors
    assert Report.of_failure("yolo", Finding.of(Code.ARCHIVE_CORRUPT, "torn")).has_errors


def test_findings_beyond_the_cap_are_counted() -> None:
    log = FindingLog(max_listed_per_code=2)
    for number in range(5):
        log.add(Code.DUPLICATE_IMAGE, "copy", path=f"{number}.png")
    log.add(Code.IMAGE_EMPTY, "empty")
    assert [finding.path for finding in log.findings() if finding.code is Code.DUPLICATE_IMAGE] == [
        "0.png",
        "1.png",
    ]
    assert log.counts() == {"IMAGE_EMPTY": 1, "DUPLICATE_IMAGE": 5}


def test_errors_come_first() -> None:
    log = FindingLog()
    log.add(Code.FILE_NOT_AN_IMAGE, "note")
    log.add(Code.DUPLICATE_IMAGE, "copy")
    log.add(Code.NO_IMAGES, "nothing")
    assert [finding.severity for finding in log.findings()] == [
        Severity.ERROR,
        Severity.WARNING,
        Severity.INFO,
    ]
