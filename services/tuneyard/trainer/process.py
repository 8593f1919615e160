"""Processes by the kernel's facts: parent-death signals, identities that outlive pid reuse, groups.

Standard library only: the warm server and the workers use it before anything else. Linux only.
"""

import ctypes
import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_STAT_PGRP, _STAT_SESSION, _STAT_START = 2, 3, 19  # fields 5, 6 and 22 of proc(5), counted from the state


class ParentGone(Exception):
    """The parent ended before its death could be watched."""


@dataclass(frozen=True)
class ProcessIdentity:
    """A process of this boot: a pid may be used again, the pair is not."""

    pid: int
    start_ticks: int
    """Field 22 of /proc/PID/stat: clock ticks from the boot to the start."""


@dataclass(frozen=True)
class _Stat:
    pid: int
    state: str
    group: int
    session: int
    start_ticks: int

    @property
    def alive(self) -> bool:
        return self.state not in "ZX"


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when the thread that made it ends.

    Raises ParentGone if `parent_pid` is no longer the parent: then the signal will never come.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        raise ParentGone(f"process {parent_pid} is gone")


def begin_worker(parent_pid: int) -> None:
    """What every worker does first: die with the parent, lead a session of its own, be the first to be
    killed where memory runs out. Raises ParentGone.
    """
    die_with_parent(parent_pid)
    if os.getsid(0) != os.getpid():
        os.setsid()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def adopt_orphans() -> None:
    """Become the parent of descendants whose parent ends, instead of the init process."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def identify(pid: int) -> ProcessIdentity | None:
    """The identity of a live process or zombie, None if there is none."""
    stat = _stat(pid)
    return ProcessIdentity(pid, stat.start_ticks) if stat else None


def is_alive(process: ProcessIdentity) -> bool:
    """True while the very process is there and no zombie."""
    stat = _stat(process.pid)
    return stat is not None and stat.start_ticks == process.start_ticks and stat.alive


def kill_group(leader: ProcessIdentity) -> bool:
    """Send SIGKILL to the group that `leader` leads or led; False if nothing of it is alive."""
    members = list(_group_of(leader))
    for pid in members:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(members)


def wait_until_gone(leader: ProcessIdentity, *, timeout_seconds: float) -> bool:
    """Kill the group of `leader` until nothing of it is alive; False if that takes too long."""
    deadline = time.monotonic() + timeout_seconds
    while kill_group(leader):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def processes_writing_to(paths: Iterable[Path]) -> dict[Path, list[ProcessIdentity]]:
    """Live processes whose standard output or error is one of the files, as far as we may look."""
    targets = {str(path): path for path in paths}
    found: dict[Path, list[ProcessIdentity]] = {}
    for pid in _pids() if targets else ():
        links = set()
        for descriptor in (1, 2):
            with suppress(OSError):
                links.add(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
        for link in links & targets.keys():
            if identity := identify(pid):
                found.setdefault(targets[link], []).append(identity)
    return found


def thread_count() -> int:
    """Threads of this process, those of native libraries included."""
    return len(os.listdir("/proc/self/task"))


def boot_id() -> str:
    """Drawn by the kernel at each boot: start ticks of another boot mean nothing."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _group_of(leader: ProcessIdentity) -> Iterator[int]:
    try:
        os.killpg(leader.pid, 0)
    except ProcessLookupError:
        return
    except PermissionError:
        pass
    stat = _stat(leader.pid)
    if stat is not None and stat.start_ticks != leader.start_ticks:
        # The pid was given away again, which the kernel does only once the old group is empty.
        return
    for pid in _pids():
        member = _stat(pid)
        if (
            member is not None
            and member.alive
            and member.group == leader.pid
            and member.session == leader.pid
            and member.start_ticks >= leader.start_ticks
        ):
            yield pid


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name stands in parentheses and may hold anything.
    fields = text[text.rindex(")") + 2 :].split()
    return _Stat(
        pid=pid,
        state=fields[0],
        group=int(fields[_STAT_PGRP]),
        session=int(fields[_STAT_SESSION]),
        start_ticks=int(fields[_STAT_START]),
    )


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
