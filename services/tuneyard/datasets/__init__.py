"""Inspection, safe unpacking and splitting of datasets: no training libraries, no gRPC, no environment.

`check` says what a folder or ZIP file holds and what is wrong with it; `prepare` unpacks what was found good;
`image_folder.index`, `content_groups` and `stratified_split` turn it into samples for a recipe.
"""

from tuneyard.datasets import image_folder
from tuneyard.datasets.archive import Archive, ArchiveSummary, check_archive, unpack
from tuneyard.datasets.archive_directory import ArchiveError, ArchiveLimits
from tuneyard.datasets.check import FORMATS, Exclusion, FormatNotSupported, check
from tuneyard.datasets.codes import Code, Severity
from tuneyard.datasets.duplicates import content_groups
from tuneyard.datasets.format_guess import Guess, guess_format
from tuneyard.datasets.prepare import prepare
from tuneyard.datasets.progress import Cancelled, Progress, ProgressCallback
from tuneyard.datasets.report import Finding, Report, SplitSummary
from tuneyard.datasets.source import FolderSource, Source, open_source
from tuneyard.datasets.split import stratified_split, stratified_subset

__all__ = [
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
