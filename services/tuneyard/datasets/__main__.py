"""`python -m tuneyard.datasets check PATH --format FORMAT`: checks a dataset under limits set on itself.

Exit status: 0 no errors, 1 errors found, 2 wrong usage, 3 out of memory; ended by SIGXCPU when out of time.
"""

import argparse
import os
import resource
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from tuneyard.datasets.check import NOTHING_EXCLUDED, FormatNotSupported, check
from tuneyard.datasets.child import (
    EXIT_ERRORS_FOUND,
    EXIT_OK,
    EXIT_OUT_OF_MEMORY,
    EXIT_USAGE,
    line_of,
    read_exclusion,
)
from tuneyard.datasets.progress import Progress

_SECONDS_BETWEEN_LINES = 0.1


class _ProgressLines:
    """Writes progress as lines, seldom enough that a reader keeps up, but each stage's end always."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now >= self._next or progress.done == progress.total:
            self._next = now + _SECONDS_BETWEEN_LINES
            print(line_of(progress), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    options = _parser().parse_args(arguments)
    _limit(options.limit_memory_bytes, options.limit_seconds)
    # Each thread of numpy's linear algebra, which no check needs, would reserve address space.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Pillow warns of what becomes a finding anyway.
    warnings.simplefilter("ignore")
    try:
        report = check(
            options.path,
            format=options.format,
            file_name=options.file_name,
            progress=_ProgressLines() if options.json_lines else None,
            exclusion=read_exclusion(options.exclusion) if options.exclusion else NOTHING_EXCLUDED,
        )
    except MemoryError:
        return EXIT_OUT_OF_MEMORY
    except ImportError:
        # Libraries are mapped when they are first needed, and say so badly where the memory does not suffice.
        if options.limit_memory_bytes is None:
            raise
        return EXIT_OUT_OF_MEMORY
    except (FormatNotSupported, OSError) as error:
        print(f"tuneyard.datasets: {error}", file=sys.stderr)
        return EXIT_USAGE
    print(line_of(report) if options.json_lines else report.to_json(), flush=True)
    return EXIT_ERRORS_FOUND if report.has_errors else EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tuneyard.datasets", description="Inspect datasets.")
    command = parser.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "check", help="check a dataset"
    )
    command.add_argument("path", type=Path, help="a folder or a ZIP file")
    command.add_argument("--format", required=True, help="image-folder, yolo, captioned-images or jsonl")
    command.add_argument("--file-name", default="", help="how a JSONL dataset of one file was called")
    command.add_argument("--exclusion", type=Path, help="a file of JSON: the paths and codes to leave out")
    command.add_argument("--json-lines", action="store_true", help="progress and report as lines of JSON")
    command.add_argument("--limit-memory-bytes", type=int, help="of address space")
    command.add_argument("--limit-seconds", type=int, help="of processor time")
    return parser


def _limit(memory_bytes: int | None, seconds: int | None) -> None:
    # A core file of somebody's images is never wanted.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    if seconds is not None:
        # The soft limit ends the process by SIGXCPU, which names the reason; the hard one is a bare SIGKILL.
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))


if __name__ == "__main__":
    raise SystemExit(main())
