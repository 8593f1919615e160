"""Keeps a few programs running: starts them, prefixes their output, restarts what dies, stops them in time.

To be used from the main thread, which must outlive the programs: they are killed when it ends.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_LONGEST_PAUSE_SECONDS: Final = 30.0
_SETTLED_SECONDS: Final = 60.0
_STARTS_BEFORE_GIVING_UP: Final = 3
_STOP_SECONDS: Final = 3.5
_KEPT_LINES: Final = 20

LineWriter = Callable[[str, str], None]
"""Takes a program's name and a line of its output."""


class CannotStart(Exception):
    """A program ended several times in a row before it was ever ready; the message has its last lines."""


@dataclass(frozen=True)
class Program:
    """A Python module that runs as a process."""

    name: str
    module: str
    environment: Mapping[str, str] = field(repr=False)
    after: str = ""
    """The program that must have been ready once before this one starts."""


class Supervised:
    """One program, whichever process it is at the moment."""

    def __init__(self, program: Program, *, write: LineWriter) -> None:
        self.program = program
        self.was_ready = False
        self.starts = 0
        self._write = write
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._started = 0.0
        self._pause = 0.5
        self._restart_at = 0.0
        self._last_lines: deque[str] = deque(maxlen=_KEPT_LINES)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Starts a process, in a session of its own: a Ctrl-C on the terminal is for the supervisor alone."""
        bound_child = Path(__file__).with_name("bound_child.py")
        self._last_lines.clear()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(bound_child), str(os.getpid()), self.program.module],
            env=dict(self.program.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        self._started = time.monotonic()
        self.starts += 1

    def tend(self) -> None:
        """Restarts the program if it has ended and its pause is over. CannotStart if it never gets going."""
        if self._process is None:
            return
        now = time.monotonic()
        code = self._process.poll()
        if code is None:
            return
        if not self._restart_at:
            if not self.was_ready and self.starts >= _STARTS_BEFORE_GIVING_UP:
                self._join_reader()
                lines = "\n".join(f"  {line}" for line in self._last_lines)
                raise CannotStart(f"{self.program.name} does not start:\n{lines}")
            if now - self._started > _SETTLED_SECONDS:
                self._pause = 0.5
            self._write(self.program.name, f"ended ({_how(code)}); starts again in {self._pause:g} s")
            self._restart_at = now + self._pause
            self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
        elif now >= self._restart_at:
            self._restart_at = 0.0
            self.start()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, SIGKILL to the whole group."""
        if self._process is None or self._process.poll() is not None:
            return
        if number is signal.SIGKILL:
            os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)

    def wait(self, deadline: float) -> bool:
        """Waits for the process to end; False if it has not by then."""
        if self._process is None:
            return True
        try:
            self._process.wait(max(deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            return False
        self._join_reader()
        return True

    def _join_reader(self) -> None:
        if self._reader is not None:
            # A grandchild that outlives the process by a moment may still hold the pipe.
            self._reader.join(0.5)

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                text = line.rstrip()
                self._last_lines.append(text)
                self._write(self.program.name, text)


class Supervisor:
    """Several programs as one. `tend` from time to time; `stop` at the end, whatever happened."""

    def __init__(self, programs: Sequence[Program], *, write: LineWriter) -> None:
        self.programs = [Supervised(program, write=write) for program in programs]

    def start(self) -> None:
        """Starts all programs but those that come after another one."""
        for program in self.programs:
            if not program.program.after:
                program.start()

    def tend(self) -> None:
        """Restarts what has ended."""
        for program in self.programs:
            program.tend()

    def ready(self, names: Sequence[str]) -> None:
        """Notes which programs have been seen at work: restarted for ever, and others start after them."""
        for program in self.programs:
            program.was_ready = program.was_ready or program.program.name in names
            if program.pid is None and program.program.after in names:
                program.start()

    def stop(self) -> None:
        """Asks all to end, and kills what has not after a few seconds."""
        for program in self.programs:
            program.signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        for program in self.programs:
            if not program.wait(deadline):
                program.signal(signal.SIGKILL)
        for program in self.programs:
            program.wait(time.monotonic() + 1.0)


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
