"""What other packages may import from tuneyard.datasets."""

import subprocess
import sys

from tuneyard import datasets
from tuneyard.datasets.codes import ADVICE, Code


def test_the_exports_are_pinned() -> None:
    assert datasets.__all__ == [
        "FORMATS",
        "Archive",
        "ArchiveError",
        "ArchiveLimits",
        "ArchiveSummary",
        "Cancelled",
        "Code",
        "Exclusion",
        "Finding",
        "FolderSource",
        "FormatNotSupported",
        "Guess",
        "Progress",
        "ProgressCallback",
        "Report",
        "Severity",
        "Source",
        "SplitSummary",
        "check",
        "check_archive",
        "content_groups",
        "guess_format",
        "image_folder",
        "open_source",
        "prepare",
        "stratified_split",
        "stratified_subset",
        "unpack",
    ]
    assert all(hasattr(datasets, name) for name in datasets.__all__)


def test_every_code_has_a_severity_and_a_remedy() -> None:
    assert set(ADVICE) == set(Code)
    assert all(advice.remedy.endswith(".") for advice in ADVICE.values())


def test_importing_it_brings_in_no_heavy_library() -> None:
    heavy = {"torch", "numpy", "grpc", "google.protobuf", "structlog"}
    program = f"import sys, tuneyard.datasets; print(sorted({heavy!r} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
