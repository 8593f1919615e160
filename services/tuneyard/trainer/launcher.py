"""How worker processes come to be: the contract of a launcher, and the one that execs each worker cold."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from tuneyard.trainer.cgroup import OutOfMemoryKills
from tuneyard.trainer.process import ProcessIdentity, identify

WORKER_MODULE = "tuneyard.trainer.worker"

Prepare: TypeAlias = Callable[[int], None]


class LaunchError(Exception):
    """The worker could not be started; the message says why."""


class LauncherLost(LaunchError):
    """The launcher went down before it said whether the worker was started; if it was, it ends too."""


@dataclass(frozen=True, kw_only=True)
class WorkerExit:
    """How a worker ended, as far as is known."""

    exit_code: int = 0
    """0 with a signal."""
    signal: int = 0
    out_of_memory: bool = False
    """The kernel killed it for want of memory."""
    lost: bool = False
    """It went down with the process that forked it; its own wait status is not known."""
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A worker process that was started."""

    process: ProcessIdentity
    ended: asyncio.Future[WorkerExit]


@dataclass(frozen=True, kw_only=True)
class LauncherState:
    """What the trainer tells about its launcher."""

    ready: bool
    warm: bool
    """Workers are forked from a warm process; else each starts cold."""
    usable: bool = True
    """False where every run would fail."""
    problem: str = ""
    """What is wrong, for people."""


class Launcher(Protocol):
    """Starts worker processes. All methods are called on the event loop of the main thread."""

    @property
    def state(self) -> LauncherState: ...

    async def start(self) -> None:
        """Begin to get ready; returns at once."""
        ...

    async def wait_ready(self) -> None:
        """Return once workers can be launched."""
        ...

    async def launch(
        self, run_dir: Path, *, env: Mapping[str, str], prepare: Prepare, worker: str = ""
    ) -> Worker:
        """Start a worker for a run folder, its output going to stderr.log there. Raises LaunchError.

        `prepare` is called just before, with the id of the process that will be the worker's parent. `worker`
        names another module with `run_worker` than that of runs. A launch that is cancelled leaves no worker;
        it may end those of other runs.
        """
        ...

    async def close(self) -> None:
        """End the workers and whatever launches them."""
        ...


class ExecLauncher:
    """Starts each worker as a fresh interpreter: slow to start, and safe where forking is not."""

    def __init__(self, *, environment: Mapping[str, str], worker: str = WORKER_MODULE) -> None:
        self._environment = dict(environment)
        self._worker = worker
        self._kills = OutOfMemoryKills()
        self._processes: set[subprocess.Popen[bytes]] = set()

    @property
    def state(self) -> LauncherState:
        return LauncherState(ready=True, warm=False)

    async def start(self) -> None:
        """Nothing to get ready."""

    async def wait_ready(self) -> None:
        """Always ready."""

    async def launch(
        self, run_dir: Path, *, env: Mapping[str, str], prepare: Prepare, worker: str = ""
    ) -> Worker:
        prepare(os.getpid())
        kills = self._kills.count()
        process = spawn(
            [sys.executable, "-P", "-m", worker or self._worker, str(run_dir)],
            env={**self._environment, **env},
            output=run_dir / "stderr.log",
        )
        self._processes.add(process)
        # The process cannot be reaped before the event loop runs again.
        identity = identify(process.pid) or ProcessIdentity(process.pid, 0)
        ended = asyncio.ensure_future(self._wait(process, kills))
        return Worker(process=identity, ended=ended)

    async def close(self) -> None:
        for process in self._processes:
            process.kill()
        for process in list(self._processes):
            await wait_for(process)

    async def _wait(self, process: subprocess.Popen[bytes], kills: int) -> WorkerExit:
        returncode = await wait_for(process)
        self._processes.discard(process)
        killed = returncode == -signal.SIGKILL
        return WorkerExit(
            exit_code=max(returncode, 0),
            signal=max(-returncode, 0),
            out_of_memory=killed and self._kills.claim(since=kills),
        )


def spawn(
    command: list[str], *, env: Mapping[str, str], output: Path, pass_fds: tuple[int, ...] = ()
) -> subprocess.Popen[bytes]:
    """Exec a program in a session of its own. Raises LaunchError.

    From the main thread only: a parent-death signal comes when the *thread* ends that started the process.
    """
    assert threading.current_thread() is threading.main_thread()
    try:
        with output.open("ab") as log:
            return subprocess.Popen(
                command,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=pass_fds,
            )
    except OSError as error:
        raise LaunchError(f"{command[0]}: {error.strerror}") from error


async def wait_for(process: subprocess.Popen[bytes]) -> int:
    """Wait for a child without a thread, and reap it; the return code is as in subprocess."""
    if process.returncode is None:
        await wait_until_ended(process.pid)
    return process.wait()


async def wait_until_ended(pid: int) -> None:
    """Wait until a process is a zombie or gone, whoever's child it is."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    try:
        watcher = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop.add_reader(watcher, _resolve, ended)
    try:
        await ended
    finally:
        loop.remove_reader(watcher)
        os.close(watcher)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
