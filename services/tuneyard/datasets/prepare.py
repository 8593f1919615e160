"""Turns a dataset's archive into the folder that a trainer reads; used by trainers' caches."""

from collections.abc import Callable
from pathlib import Path

from tuneyard.datasets import jsonl
from tuneyard.datasets.archive import ArchiveSummary, unpack
from tuneyard.datasets.archive_directory import DEFAULT_LIMITS, ArchiveLimits
from tuneyard.datasets.check import require_format
from tuneyard.datasets.jsonl_source import is_single_file, unpack_single_file
from tuneyard.datasets.progress import ProgressCallback
from tuneyard.datasets.report import Report


def prepare(
    archive: Path,
    destination: Path,
    *,
    format: str,
    file_name: str = "",
    report: Report | None = None,
    limits: ArchiveLimits = DEFAULT_LIMITS,
    progress: ProgressCallback | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> ArchiveSummary:
    """Unpacks the archive to `destination`, which must not exist, and writes nothing else.

    The destination is the dataset's root: junk, a folder around it, and files that the report excludes are
    left out. It appears complete or not at all. `file_name` is the same as for `check`. Raises what `unpack`
    does, and `FormatNotSupported`.
    """
    require_format(format)
    if format == jsonl.FORMAT and is_single_file(archive):
        return unpack_single_file(
            archive, destination, name=file_name, limits=limits, should_stop=should_stop
        )
    excluded = frozenset(report.excluded) if report is not None else frozenset[str]()
    return unpack(
        archive, destination, limits=limits, skip=excluded, progress=progress, should_stop=should_stop
    )
