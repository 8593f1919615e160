"""Reports of checks as messages."""

from tuneyard.datasets import Code, Finding, Report
from tuneyard.gateway.reports import to_message


def test_a_findings_figures_are_told_by_name() -> None:
    figures = {"examples": 12, "least": 100}
    finding = Finding.of(Code.EXAMPLES_FEW, "Only 12 examples.", figures=figures)
    (told,) = to_message(Report(format="jsonl", findings=(finding,))).findings
    assert (told.message, dict(told.figures)) == ("Only 12 examples.", {"examples": "12", "least": "100"})
