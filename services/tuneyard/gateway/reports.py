"""The report of a dataset's check as the message that is stored and sent."""

from typing import Final

from tuneyard.datasets import Code, Exclusion, Report, Severity
from tuneyard.v1 import dataset_pb2

# Storage and transport are bounded: the listed findings are capped, their counts are not.
MAX_LISTED_FINDINGS: Final = 1000

_SEVERITIES: Final = {
    Severity.ERROR: dataset_pb2.SEVERITY_ERROR,
    Severity.WARNING: dataset_pb2.SEVERITY_WARNING,
    Severity.INFO: dataset_pb2.SEVERITY_INFO,
}

FORMATS: Final = {
    dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER: "image-folder",
    dataset_pb2.DATASET_FORMAT_YOLO: "yolo",
    dataset_pb2.DATASET_FORMAT_CAPTIONED_IMAGES: "captioned-images",
    dataset_pb2.DATASET_FORMAT_JSONL: "jsonl",
}
"""The names by which `tuneyard.datasets` knows the formats."""


def to_message(report: Report) -> dataset_pb2.ValidationReport:
    """The message for a report, with its gravest findings."""
    return dataset_pb2.ValidationReport(
        findings=[
            dataset_pb2.Finding(
                code=finding.code.value,
                severity=_SEVERITIES[finding.severity],
                path=finding.path or "",
                line=finding.line or 0,
                message=finding.message,
                remedy=finding.remedy,
                figures=finding.figures,
            )
            for finding in report.findings[:MAX_LISTED_FINDINGS]
        ],
        counts=report.counts,
        classes=report.classes,
        splits=[
            dataset_pb2.SplitFacts(
                split=name,
                samples=split.samples,
                samples_per_class=split.per_class,
                boxes_per_class=split.boxes_per_class,
            )
            for name, split in report.splits.items()
        ],
        excluded=report.excluded,
        samples=report.samples,
        median_width=report.median_width,
        median_height=report.median_height,
        sides=report.sides,
        groups=report.groups,
    )


def exclusion(dataset: dataset_pb2.Dataset) -> Exclusion | None:
    """What the check of a version is to leave out; None for a dataset that is no version."""
    if not dataset.HasField("exclusion"):
        return None
    known = set(Code)
    # A code that a later release no longer has excludes nothing.
    codes = [Code(code) for code in dataset.exclusion.codes if code in known]
    return Exclusion(paths=tuple(dataset.exclusion.paths), codes=tuple(codes))


def failed(code: str, message: str, *, remedy: str) -> dataset_pb2.ValidationReport:
    """The report about a dataset that could not be checked at all."""
    finding = dataset_pb2.Finding(
        code=code, severity=dataset_pb2.SEVERITY_ERROR, message=message, remedy=remedy
    )
    return dataset_pb2.ValidationReport(findings=[finding], counts={code: 1})
