import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tuneyard.cli.supervisor import CannotStart, Program, Supervisor

Lines = "queue.Queue[tuple[str, str]]"


@pytest.fixture
def lines() -> Lines:
    return queue.Queue()


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], Program]:
    """Makes a program of a text of Python."""

    def make(text: str) -> Program:
        (tmp_path / "tested_program.py").write_text(text)
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONUNBUFFERED": "1"}
        return Program("tested", "tested_program", environment)

    return make


@pytest.fixture
def supervise(lines: Lines) -> Iterator[Callable[[Program], Supervisor]]:
    made: list[Supervisor] = []

    def start(program: Program) -> Supervisor:
        supervisor = Supervisor([program], write=lambda name, line: lines.put((name, line)))
        made.append(supervisor)
        supervisor.start()
        return supervisor

    yield start
    for supervisor in made:
        supervisor.stop()


def _wait_for(lines: Lines, text: str, supervisor: Supervisor) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        supervisor.tend()
        try:
            _, line = lines.get(timeout=0.05)
        except queue.Empty:
            continue
        if text in line:
            return
    raise AssertionError(f"no line with {text!r}")


ENDLESS = "import time\nprint('at work')\ntime.sleep(600)\n"


def test_output_is_passed_on_line_by_line(lines: Lines, program, supervise) -> None:
    supervise(program(ENDLESS))
    assert lines.get(timeout=20) == ("tested", "at work")


def test_what_dies_is_started_again(lines: Lines, program, supervise) -> None:
    supervisor = supervise(program(ENDLESS))
    _wait_for(lines, "at work", supervisor)
    supervisor.ready(["tested"])
    first = supervisor.programs[0].pid
    os.kill(first, signal.SIGKILL)
    _wait_for(lines, "ended (signal SIGKILL); starts again", supervisor)
    _wait_for(lines, "at work", supervisor)
    assert supervisor.programs[0].pid != first


def test_what_never_starts_is_given_up_with_its_last_words(lines: Lines, program, supervise) -> None:
    supervisor = supervise(program("raise SystemExit('no such database')"))
    with pytest.raises(CannotStart, match="no such database"):
        _wait_for(lines, "never", supervisor)
    assert supervisor.programs[0].starts == 3


def test_stopping_kills_what_does_not_listen(lines: Lines, program, supervise) -> None:
    supervisor = supervise(
        program("import signal\nsignal.signal(signal.SIGTERM, lambda *_: print('no'))\n" + ENDLESS)
    )
    _wait_for(lines, "at work", supervisor)
    process = psutil.Process(supervisor.programs[0].pid)
    supervisor.stop()
    _, alive = psutil.wait_procs([process], timeout=20)
    assert not alive


def test_nothing_survives_a_starter_that_is_killed(tmp_path: Path, program) -> None:
    (tmp_path / "starter.py").write_text(
        "import os, time\n"
        "from tuneyard.cli.supervisor import Program, Supervisor\n"
        "supervisor = Supervisor([Program('p', 'tested_program', os.environ)], write=lambda *_: None)\n"
        "supervisor.start()\n"
        "print(supervisor.programs[0].pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    environment = program(ENDLESS).environment
    starter = subprocess.Popen(
        [sys.executable, str(tmp_path / "starter.py")], env=environment, stdout=subprocess.PIPE
    )
    assert starter.stdout is not None
    child = psutil.Process(int(starter.stdout.readline()))
    # Between fork and exec it has no command line.
    while "tested_program" not in "".join(child.cmdline()[-1:]):
        assert child.is_running()
    starter.kill()
    starter.wait()
    assert child.wait(10) is None or not child.is_running()


def test_a_program_after_another_waits_until_that_one_is_ready(lines: Lines, program) -> None:
    first = program(ENDLESS)
    second = Program("second", first.module, first.environment, after="tested")
    supervisor = Supervisor([first, second], write=lambda name, line: lines.put((name, line)))
    supervisor.start()
    try:
        _wait_for(lines, "at work", supervisor)
        assert supervisor.programs[1].pid is None
        supervisor.ready(["tested"])
        assert lines.get(timeout=20) == ("second", "at work")
    finally:
        supervisor.stop()
