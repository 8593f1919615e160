"""Checking a dataset in a limited child process: its command line, its output, the meaning of its end.

For the parent, which starts and reads the process in its own way; `__main__` is the child.
"""

import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from tuneyard.datasets.check import Exclusion
from tuneyard.datasets.codes import Code
from tuneyard.datasets.progress import Progress
from tuneyard.datasets.report import Finding, Report

EXIT_OK = 0
EXIT_ERRORS_FOUND = 1
EXIT_USAGE = 2
EXIT_OUT_OF_MEMORY = 3


def command(
    path: Path,
    *,
    format: str,
    file_name: str = "",
    exclusion: Path | None = None,
    limit_memory_bytes: int | None = None,
    limit_seconds: int | None = None,
) -> list[str]:
    """The arguments of the child. The limits are those of address space and of processor time.

    `exclusion` is a file that `write_exclusion` wrote.
    """
    arguments = [
        sys.executable,
        "-m",
        "tuneyard.datasets",
        "check",
        str(path),
        "--format",
        format,
        "--json-lines",
    ]
    if file_name:
        # In one piece: the name may begin with a hyphen.
        arguments.append(f"--file-name={file_name}")
    if exclusion is not None:
        arguments += ["--exclusion", str(exclusion)]
    if limit_memory_bytes is not None:
        arguments += ["--limit-memory-bytes", str(limit_memory_bytes)]
    if limit_seconds is not None:
        arguments += ["--limit-seconds", str(limit_seconds)]
    return arguments


def write_exclusion(path: Path, exclusion: Exclusion) -> None:
    """Writes for the child what it is to leave out: more names than a command line holds."""
    path.write_text(json.dumps({"paths": list(exclusion.paths), "codes": list(exclusion.codes)}))


def read_exclusion(path: Path) -> Exclusion:
    """What `write_exclusion` wrote."""
    value = json.loads(path.read_text())
    return Exclusion(paths=tuple(value["paths"]), codes=tuple(Code(code) for code in value["codes"]))


def line_of(value: Progress | Report) -> str:
    """One line of the child's standard output, without its end."""
    if isinstance(value, Progress):
        return json.dumps({"progress": asdict(value)})
    return f'{{"report":{value.to_json()}}}'


def parse_line(line: str | bytes) -> Progress | Report:
    """What a line of the child's standard output says; the last one is the report."""
    value = json.loads(line)
    if "report" in value:
        return Report.from_dict(value["report"])
    return Progress(**value["progress"])


def report_of_death(returncode: int, *, format: str) -> Report:
    """The report about a child that ended without one; `returncode` as in subprocess."""
    if returncode == EXIT_OUT_OF_MEMORY:
        finding = Finding.of(Code.CHECK_OUT_OF_MEMORY, "The check reached its memory limit.")
    elif returncode == -signal.SIGXCPU:
        finding = Finding.of(Code.CHECK_OUT_OF_TIME, "The check reached its time limit.")
    elif returncode < 0:
        finding = Finding.of(Code.CHECK_CRASHED, f"The check was ended by {_signal_name(-returncode)}.")
    else:
        finding = Finding.of(
            Code.CHECK_CRASHED, f"The check ended with exit status {returncode} and no report."
        )
    return Report.of_failure(format, finding)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
