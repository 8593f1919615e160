"""The one entry point for checking a dataset, whatever its format and wherever it lies."""

from collections.abc import Callable
from pathlib import Path

from tuneyard.datasets import image_folder
from tuneyard.datasets.archive import check_archive
from tuneyard.datasets.archive_directory import DEFAULT_LIMITS, ArchiveError, ArchiveLimits
from tuneyard.datasets.progress import ProgressCallback
from tuneyard.datasets.report import Finding, Report
from tuneyard.datasets.source import Source, open_source

FORMATS = ("image-folder", "yolo", "captioned-images", "jsonl")

Inspector = Callable[[Source, ProgressCallback | None], Report]

_INSPECTORS: dict[str, Inspector] = {
    image_folder.FORMAT: lambda source, progress: image_folder.inspect(source, progress=progress),
}


class FormatNotSupported(ValueError):
    """The format is unknown, or is not inspected by this version."""

    def __init__(self, format: str) -> None:
        supported = ", ".join(_INSPECTORS)
        if format in FORMATS:
            message = (
                f"datasets of format {format!r} are not supported by this version, which supports {supported}"
            )
        else:
            message = f"{format!r} is not a dataset format; the formats are {', '.join(FORMATS)}"
        super().__init__(message)
        self.format = format


def require_format(format: str) -> None:
    """Raises `FormatNotSupported` unless datasets of the format can be checked and prepared."""
    if format not in _INSPECTORS:
        raise FormatNotSupported(format)


def check(
    path: Path,
    *,
    format: str,
    progress: ProgressCallback | None = None,
    limits: ArchiveLimits = DEFAULT_LIMITS,
) -> Report:
    """Inspects the dataset in a folder or ZIP file; writes nothing.

    An unacceptable archive is a report with one error. Raises `FormatNotSupported`, and OSError, such as
    FileNotFoundError, where the files cannot be reached.
    """
    require_format(format)
    try:
        if not path.is_dir():
            check_archive(path, limits=limits, progress=progress)
        with open_source(path, limits=limits) as source:
            return _INSPECTORS[format](source, progress)
    except ArchiveError as error:
        return Report.of_failure(format, Finding.of(error.code, error.message, path=error.member))
