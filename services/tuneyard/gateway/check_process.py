"""A dataset check as a child process: started with nothing of ours, read line by line, ended for certain."""

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog

from tuneyard.datasets import Code, Exclusion, Finding, Progress, Report, child

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class ValidationLimits:
    """What one check may use, and how many run at once."""

    concurrent: int = 2
    memory_bytes: int = 4 * 1024**3
    """Of address space."""
    cpu_time: timedelta = timedelta(hours=1)
    wall_time: timedelta = timedelta(hours=2)


class CheckInterrupted(Exception):
    """The check ended in a way that says nothing about the dataset."""


class CheckProcess:
    """One child. Start it on the main thread: the kernel kills it when the thread that made it ends."""

    def __init__(
        self,
        path: Path,
        *,
        format: str,
        limits: ValidationLimits,
        file_name: str = "",
        exclusion: Exclusion | None = None,
    ) -> None:
        """The folder of `path` is this check's own."""
        self._path = path
        self._format = format
        self._file_name = file_name
        self._exclusion = exclusion
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._expired = False
        self._stages: list[str] = []
        self.fraction = 0.0
        """How far the check is, from 0 to 1."""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the child. OSError where that fails."""
        exclusion = None
        if self._exclusion is not None:
            exclusion = self._path.parent / "exclusion.json"
            child.write_exclusion(exclusion, self._exclusion)
        arguments = child.command(
            self._path,
            format=self._format,
            file_name=self._file_name,
            exclusion=exclusion,
            limit_memory_bytes=self._limits.memory_bytes,
            limit_seconds=int(self._limits.cpu_time.total_seconds()),
        )
        at = arguments.index("-m")
        arguments[at : at + 2] = ["-m", "tuneyard.gateway.check_child", str(os.getpid())]
        with (self._path.parent / "stderr").open("wb") as stderr:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                # Neither the token nor the credentials of the store reach code that reads strangers' files.
                env={"LC_ALL": "C.UTF-8"},
                start_new_session=True,
            )

    def read(self, is_last: bool) -> Report:
        """Waits for the report. CheckInterrupted where another try may help, unless this is the last one."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        report: Report | None = None
        with process.stdout:
            for line in process.stdout:
                told = child.parse_line(line)
                if isinstance(told, Report):
                    report = told
                else:
                    self._move(told)
        returncode = process.wait()
        if report is not None:
            return report
        if self._expired:
            text = "The check reached its time limit."
            return Report.of_failure(self._format, Finding.of(Code.CHECK_OUT_OF_TIME, text))
        self._log_end(returncode)
        # A kill from outside and a failure to read may be passing; limits that were reached are not.
        if returncode in (-signal.SIGKILL, child.EXIT_USAGE) and not is_last:
            raise CheckInterrupted(f"the check ended with {returncode}")
        return child.report_of_death(returncode, format=self._format)

    def expire(self) -> None:
        """Ends the child because its wall time is over."""
        self._expired = True
        self.kill()

    def kill(self) -> None:
        """Ends the child and what it may have started. Harmless when it has ended."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _move(self, progress: Progress) -> None:
        if progress.stage not in self._stages:
            self._stages.append(progress.stage)
        # How many stages there are is not known: each new one gets half of what is left.
        left = 0.5 ** (len(self._stages) - 1)
        share = progress.done / progress.total if progress.total else 0.0
        self.fraction = max(self.fraction, 1 - left + left / 2 * share)

    def _log_end(self, returncode: int) -> None:
        with contextlib.suppress(OSError):
            with (self._path.parent / "stderr").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 2000))
                told = file.read().decode(errors="replace")
            log.warning("check ended without a report", returncode=returncode, stderr=told)
