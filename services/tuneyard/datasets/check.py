"""The one entry point for checking a dataset, whatever its format and wherever it lies."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from tuneyard.datasets import captioned, captioned_check, image_folder, jsonl, jsonl_check, yolo, yolo_check
from tuneyard.datasets.archive import check_archive
from tuneyard.datasets.archive_directory import DEFAULT_LIMITS, ArchiveError, ArchiveLimits
from tuneyard.datasets.codes import Code
from tuneyard.datasets.format_guess import Guess, guess, guess_format
from tuneyard.datasets.jsonl_source import SingleFile, is_single_file
from tuneyard.datasets.names import told_unknown
from tuneyard.datasets.progress import ProgressCallback
from tuneyard.datasets.report import Finding, FindingLog, Report
from tuneyard.datasets.source import Source, Without, open_source

FORMATS = (image_folder.FORMAT, yolo.FORMAT, captioned.FORMAT, jsonl.FORMAT)

Inspector = Callable[[Source, ProgressCallback | None], Report]

_INSPECTORS: dict[str, Inspector] = {
    image_folder.FORMAT: lambda source, progress: image_folder.inspect(source, progress=progress),
    yolo.FORMAT: lambda source, progress: yolo_check.inspect(source, progress=progress),
    captioned.FORMAT: lambda source, progress: captioned_check.inspect(source, progress=progress),
    jsonl.FORMAT: lambda source, progress: jsonl_check.inspect(source, progress=progress),
}


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """What a version of a dataset leaves out: files by name, and every file with a finding of some codes."""

    paths: Collection[str] = ()
    codes: Collection[Code] = ()


NOTHING_EXCLUDED = Exclusion()
_LOOKED_UP = 10
"""Of the files that are to be left out and are not there, those for which near names are looked up."""


class FormatNotSupported(ValueError):
    """The format is unknown."""

    def __init__(self, format: str) -> None:
        super().__init__(f"{format!r} is not a dataset format; the formats are {', '.join(FORMATS)}")
        self.format = format


def require_format(format: str) -> None:
    """Raises `FormatNotSupported` unless datasets of the format can be checked and prepared."""
    if format not in _INSPECTORS:
        raise FormatNotSupported(format)


def check(
    path: Path,
    *,
    format: str,
    file_name: str = "",
    progress: ProgressCallback | None = None,
    limits: ArchiveLimits = DEFAULT_LIMITS,
    exclusion: Exclusion = NOTHING_EXCLUDED,
) -> Report:
    """Inspects the dataset in a folder or ZIP file, without what is excluded; writes nothing.

    `file_name` is the name that a JSONL dataset was uploaded by that is one file; default: the path's own. An
    unacceptable archive is a report with one error. Raises `FormatNotSupported`, and OSError, such as
    FileNotFoundError, where the files cannot be reached.
    """
    require_format(format)
    try:
        with _open(path, format, file_name, limits, progress) as source:
            report = _inspect_without(source, format, exclusion, progress)
            return _with_other_format(report, _doubt(source, report))
    except ArchiveError as error:
        report = Report.of_failure(format, Finding.of(error.code, error.message, path=error.member))
        return _with_other_format(report, guess_format(path, limits=limits))


def _doubt(source: Source, report: Report) -> Guess | None:
    """What the dataset looks like, where its report lets one doubt the format."""
    if report.has_errors:
        return guess(source)
    if report.format == captioned.FORMAT:
        # Boxes pass for captions without any error.
        found = guess(source)
        return found if found is not None and found.format == yolo.FORMAT else None
    return None


def _open(
    path: Path, format: str, file_name: str, limits: ArchiveLimits, progress: ProgressCallback | None
) -> Source:
    if format == jsonl.FORMAT and is_single_file(path):
        return SingleFile(path, name=file_name, limits=limits)
    if not path.is_dir():
        check_archive(path, limits=limits, progress=progress)
    return open_source(path, limits=limits)


def _inspect_without(
    source: Source, format: str, exclusion: Exclusion, progress: ProgressCallback | None
) -> Report:
    if format == jsonl.FORMAT:
        # Its findings are about lines, which are left out one by one.
        return jsonl_check.inspect(
            source, progress=progress, excluded=exclusion.paths, excluded_codes=exclusion.codes
        )
    inspect = _INSPECTORS[format]
    if not exclusion.paths and not exclusion.codes:
        return inspect(source, progress)
    names = frozenset(source.names())
    left_out = {name for name in exclusion.paths if name in names}
    if exclusion.codes:
        # Which files those are shows only when all are looked at; what is left is then judged for itself.
        found = inspect(Without(source, left_out), progress).paths
        left_out |= {path for code in exclusion.codes for path in found.get(code, ()) if path in names}
    if format == yolo.FORMAT:
        left_out = {*yolo_check.companions(source, left_out)}
    if format == captioned.FORMAT:
        left_out = {*captioned_check.companions(source, left_out)}
        # Metadata goes on naming what a version leaves out.
        report = captioned_check.inspect(Without(source, left_out), progress=progress, left_out=left_out)
    else:
        report = inspect(Without(source, left_out), progress)
    report = replace(report, excluded=tuple(sorted({*report.excluded, *left_out})))
    return _with_unknown(report, source, [name for name in exclusion.paths if name not in names])


def _with_unknown(report: Report, source: Source, unknown: Collection[str]) -> Report:
    log, folders = FindingLog(), frozenset(source.folders)
    for number, name in enumerate(unknown):
        if name.rstrip("/") in folders:
            seen = f"{name!r} is a folder, and single files are left out."
            log.add(Code.EXCLUDED_FOLDER, seen, path=name)
        else:
            # Looking for near names takes a while, and some examples tell what is wrong.
            names = source.names() if number < _LOOKED_UP else ()
            log.add(Code.EXCLUDED_FILE_UNKNOWN, told_unknown(name, names), path=name)
    return _with(report, log)


def _with_other_format(report: Report, guess: Guess | None) -> Report:
    log = FindingLog()
    if guess is not None and guess.format != report.format:
        seen = f"This looks like a dataset of format {guess.format!r}: {guess.seen}"
        log.add(Code.FORMAT_SEEMS_OTHER, f"{seen}; try --format {guess.format}.")
    return _with(report, log)


def _with(report: Report, log: FindingLog) -> Report:
    return replace(
        report, findings=(*report.findings, *log.findings()), counts={**report.counts, **log.counts()}
    )
