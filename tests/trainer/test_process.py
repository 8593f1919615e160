import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tuneyard.trainer.process import (
    ParentGone,
    ProcessIdentity,
    die_with_parent,
    identify,
    is_alive,
    kill_group,
    processes_writing_to,
    thread_count,
    wait_until_gone,
)


def until(condition: Callable[[], object], *, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        yield process
        process.kill()


def test_a_process_is_known_by_pid_and_start(sleeper: subprocess.Popen[bytes]) -> None:
    identity = identify(sleeper.pid)
    assert identity is not None and is_alive(identity)
    assert not is_alive(ProcessIdentity(sleeper.pid, identity.start_ticks + 1))


def test_a_zombie_is_not_alive_but_still_has_its_identity(sleeper: subprocess.Popen[bytes]) -> None:
    identity = identify(sleeper.pid)
    assert identity is not None
    sleeper.kill()
    until(lambda: not is_alive(identity))
    assert identify(sleeper.pid) == identity
    sleeper.wait()
    assert identify(sleeper.pid) is None


def test_killing_a_group_reaches_members_whose_leader_is_gone() -> None:
    script = "sleep 60 & echo $!; exit"
    with subprocess.Popen(
        ["sh", "-c", f"read _; {script}"],
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as shell:
        leader = identify(shell.pid)
        assert leader is not None and shell.stdin and shell.stdout
        shell.stdin.write(b"\n")
        shell.stdin.flush()
        member = identify(int(shell.stdout.readline()))
        shell.wait()
        assert member is not None and is_alive(member)
        assert wait_until_gone(leader, timeout_seconds=5)
        assert not is_alive(member)
        assert not kill_group(leader)


def test_a_group_is_not_killed_under_the_pid_of_another_process(sleeper: subprocess.Popen[bytes]) -> None:
    identity = identify(sleeper.pid)
    assert identity is not None
    assert not kill_group(ProcessIdentity(sleeper.pid, identity.start_ticks - 1))
    assert is_alive(identity)


def test_writers_are_found_by_the_file_that_their_output_goes_to(tmp_path: Path) -> None:
    log, other = tmp_path / "log", tmp_path / "other"
    with log.open("wb") as file, subprocess.Popen(["sleep", "60"], stderr=file) as process:
        assert processes_writing_to([log, other]) == {log: [identify(process.pid)]}
        process.kill()


def test_a_child_dies_with_the_process_that_made_it() -> None:
    child = "import os, time\nfrom tuneyard.trainer.process import die_with_parent\n"
    child += "die_with_parent(os.getppid())\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n"
    parent = (
        f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {child!r}])\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        grandchild = identify(int(process.stdout.readline()))
        assert grandchild is not None and is_alive(grandchild)
        process.kill()
        until(lambda: not is_alive(grandchild))


def test_a_parent_that_is_gone_already_is_an_error() -> None:
    pid = os.fork()
    if pid == 0:
        try:
            die_with_parent(os.getppid() + 1)
        except ParentGone:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_threads_of_this_process_are_counted() -> None:
    assert thread_count() == len(os.listdir("/proc/self/task"))
