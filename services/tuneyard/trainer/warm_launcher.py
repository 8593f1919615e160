"""Launches workers by fork from the warm server, which it starts, watches and starts again."""

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog

from tuneyard.trainer.cgroup import OutOfMemoryKills
from tuneyard.trainer.launcher import (
    WORKER_MODULE,
    ExecLauncher,
    LauncherLost,
    LaunchError,
    LauncherState,
    Prepare,
    Worker,
    WorkerExit,
    spawn,
    wait_for,
    wait_until_ended,
)
from tuneyard.trainer.process import ProcessIdentity
from tuneyard.trainer.warm import MAX_MESSAGE_BYTES
from tuneyard.trainer.worker_output import tail

_log = structlog.get_logger(__name__)

WARM_ENVIRONMENT = {
    # torch must ask the driver's library about devices instead of initialising CUDA, which no child survives.
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    # numpy's matrix library starts its threads when imported; those of torch start when used.
    "OPENBLAS_NUM_THREADS": "1",
}
_SPIN_COUNT = "10000"
"""Turns of libgomp's idle threads before they sleep. Its default is to spin for milliseconds: where others
use the cores too, the threads that have work wait for those that have none, and a step takes several times
as long. libgomp reads it when it is loaded, hence it is set for the process that will import torch.

On two idle cores (AMD EPYC) this many cost nothing that could be measured: a step of resnet18 took 74 ms, of
mobilenet_v3_small 56 ms, as at the default; with a third as many mobilenet's took 4 % longer. Beside two busy
processes resnet18's took 0.33 s, with three times as many 0.4 to 1.6 s; at the default up to 2.7 beside one.
"""


class ForkRefused(LaunchError):
    """The warm server is there, but will not fork now."""


class WarmLauncher:
    """Forks each worker from a process that has the family's libraries imported.

    Where that cannot be done safely, it falls back to fresh interpreters for good and says so in `state`.
    """

    def __init__(
        self,
        *,
        preload: Sequence[str],
        log_path: Path,
        environment: Mapping[str, str],
        worker: str = WORKER_MODULE,
        backoff: timedelta = timedelta(seconds=0.2),
        give_up_after: int = 5,
        patience: timedelta = timedelta(seconds=10),
    ) -> None:
        """`preload` names modules that every run needs; one with a `PRELOAD` names more. `give_up_after`
        counts starts in a row that did not get ready. A warm server that does not answer within `patience`
        is replaced: forking takes milliseconds, and while it hangs it tells of no worker's end.
        """
        environment = _with_short_spins(environment)
        self._log_path = log_path
        self._environment = {**environment, **WARM_ENVIRONMENT}
        self._needed = frozenset(preload)
        self._usable = True
        self._arguments = ["--preload", ",".join(preload), "--worker", worker]
        self._fallback = ExecLauncher(environment=environment, worker=worker)
        self._backoff = backoff.total_seconds()
        self._give_up_after = give_up_after
        self._patience = patience.total_seconds()
        self._server: _Connection | None = None
        self._ready = asyncio.Event()
        self._cold = False
        self._problem = ""
        self._keeper: asyncio.Task[None] | None = None

    @property
    def state(self) -> LauncherState:
        return LauncherState(
            ready=self._ready.is_set(), warm=not self._cold, usable=self._usable, problem=self._problem
        )

    @property
    def warm_pid(self) -> int | None:
        """The warm server's process, while it is ready."""
        return self._server.process.pid if self._server is not None else None

    async def start(self) -> None:
        self._keeper = asyncio.create_task(self._keep(), name="warm server")

    async def wait_ready(self) -> None:
        await self._ready.wait()

    async def launch(
        self, run_dir: Path, *, env: Mapping[str, str], prepare: Prepare, worker: str = ""
    ) -> Worker:
        if not self._cold:
            if self._server is None:
                raise LauncherLost("the warm server is not ready")
            prepare(self._server.process.pid)
            try:
                return await self._server.fork(run_dir, env=env, worker=worker)
            except (LauncherLost, asyncio.CancelledError):
                self._forget_server()
                raise
            except ForkRefused as refused:
                self._problem = f"runs start cold now: {refused}"
                _log.warning("warm server refused to fork", reason=str(refused))
        return await self._fallback.launch(run_dir, env=env, prepare=prepare, worker=worker)

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        await self._fallback.close()

    async def _keep(self) -> None:
        failures = 0
        while failures < self._give_up_after:
            life = await self._live()
            if life.unfit:
                self._go_cold(life.unfit)
                return
            failures = 0 if life.was_ready else failures + 1
            _log.error("warm server ended", how=life.ending, log_tail=tail(self._log_path))
            await asyncio.sleep(min(self._backoff * 2**failures, 10.0))
        self._go_cold(f"the warm server did not get ready {failures} times in a row")

    async def _live(self) -> "_Life":
        """One life of the warm server, from its start to its end."""
        try:
            connection = self._spawn()
        except LaunchError as error:
            return _Life(ending=str(error))
        try:
            returncode = await wait_for(connection.process)
        finally:
            self._forget_server()
            await connection.close()
        return _Life(unfit=connection.unfit, was_ready=connection.was_ready, ending=_ending(returncode))

    def _spawn(self) -> "_Connection":
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._log_path.unlink(missing_ok=True)
        command = [sys.executable, "-P", "-m", "tuneyard.trainer.warm"]
        command += ["--socket", str(theirs.fileno()), "--parent", str(os.getpid()), *self._arguments]
        try:
            process = spawn(
                command, env=self._environment, output=self._log_path, pass_fds=(theirs.fileno(),)
            )
        except LaunchError:
            ours.close()
            raise
        finally:
            theirs.close()
        return _Connection(ours, process=process, patience=self._patience, on_ready=self._on_ready)

    def _forget_server(self) -> None:
        self._server = None
        self._ready.clear()

    def _on_ready(self, connection: "_Connection", failed_imports: Mapping[str, str]) -> None:
        for module, error in failed_imports.items():
            _log.warning("import failed", module=module, error=error)
        self._problem = "; ".join(f"import of {module} failed" for module in failed_imports)
        # What these name in turn may be absent: a library that only some recipes need.
        self._usable = not self._needed & failed_imports.keys()
        self._server = connection
        self._ready.set()
        _log.info("warm server ready", pid=connection.process.pid)

    def _go_cold(self, reason: str) -> None:
        self._cold = True
        self._problem = f"every run starts cold: {reason}"
        self._ready.set()
        _log.warning("runs start cold", reason=reason)


@dataclass(frozen=True, kw_only=True)
class _Life:
    """How a life of the warm server went."""

    ending: str
    unfit: str = ""
    was_ready: bool = False


class _Connection:
    """One life of the warm server: its process, the requests on their way, and its workers."""

    def __init__(
        self,
        connection: socket.socket,
        *,
        process: subprocess.Popen[bytes],
        patience: float,
        on_ready: "Callable[[_Connection, Mapping[str, str]], None]",
    ) -> None:
        self.process = process
        self.was_ready = False
        self._patience = patience
        self._on_ready = on_ready
        self.unfit = ""
        self._kills = OutOfMemoryKills()
        self._kills_before = self._kills.count()
        self._numbers = itertools.count(1)
        self._requests: dict[int, asyncio.Future[Worker]] = {}
        self._workers: dict[int, asyncio.Future[WorkerExit]] = {}
        self._watches: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        connection.setblocking(False)
        self._loop.add_reader(connection.fileno(), self._receive)

    async def fork(self, run_dir: Path, *, env: Mapping[str, str], worker: str) -> Worker:
        number = next(self._numbers)
        answer: asyncio.Future[Worker] = self._loop.create_future()
        request = {"fork": number, "run_dir": str(run_dir), "env": dict(env), "worker": worker}
        try:
            self._connection.send(json.dumps(request).encode())
        except OSError as error:
            self._kill("it does not listen")
            raise LauncherLost(f"the warm server does not listen: {error.strerror}") from error
        self._requests[number] = answer
        try:
            if not await self._comes(answer):
                self._kill("it does not answer a launch")
                raise LauncherLost("the warm server does not answer")
        except asyncio.CancelledError:
            # Whether it forks is not known; what it may have forked ends with it.
            self._kill("a launch was given up")
            raise
        finally:
            answer.cancel()
        return answer.result()

    async def close(self) -> None:
        """End the process, and with it the workers; tell everyone who waits for one."""
        try:
            # It ends when its connection is closed.
            self._connection.shutdown(socket.SHUT_WR)
            returncode = await asyncio.wait_for(wait_for(self.process), timeout=0.5)
        except (TimeoutError, OSError):
            self.process.kill()
            returncode = await wait_for(self.process)
        self._receive()
        self._loop.remove_reader(self._connection.fileno())
        self._connection.close()
        for watch in self._watches:
            watch.cancel()
        for answer in self._requests.values():
            if not answer.done():
                answer.set_exception(LauncherLost("the warm server ended before it could fork"))
        killed = returncode == -signal.SIGKILL
        lost = WorkerExit(
            signal=signal.SIGKILL,
            out_of_memory=killed and self._kills.claim(since=self._kills_before),
            lost=True,
            detail=f"the warm server ended ({_ending(returncode)})",
        )
        for ended in self._workers.values():
            if not ended.done():
                ended.set_result(lost)

    def _receive(self) -> None:
        while True:
            try:
                data = self._connection.recv(MAX_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                # The end of the process is what counts; without this the loop would spin until then.
                self._loop.remove_reader(self._connection.fileno())
                return
            self._handle(json.loads(data))

    def _handle(self, message: dict[str, Any]) -> None:
        match message:
            case {"ready": about}:
                self.was_ready = True
                self._on_ready(self, about["failed_imports"])
            case {"unfit": reason}:
                self.unfit = reason
            case {"forked": number, "pid": pid, "start_ticks": start_ticks}:
                ended = self._workers[pid] = self._loop.create_future()
                worker = Worker(process=ProcessIdentity(pid, start_ticks), ended=ended)
                self._resolve(number, worker)
                watch = asyncio.create_task(self._expect_end(pid, ended))
                self._watches.add(watch)
                watch.add_done_callback(self._watches.discard)
            case {"refused": number, "reason": reason}:
                self._resolve(number, ForkRefused(reason))
            case {"ended": pid, "status": status, "out_of_memory": out_of_memory}:
                code = os.waitstatus_to_exitcode(status)
                self._workers.pop(pid).set_result(
                    WorkerExit(exit_code=max(code, 0), signal=max(-code, 0), out_of_memory=out_of_memory)
                )

    async def _expect_end(self, pid: int, ended: asyncio.Future[WorkerExit]) -> None:
        """See to it that the end of a worker is told: its slot is taken until then."""
        await wait_until_ended(pid)
        if not await self._comes(ended):
            self._kill("it does not tell of a worker's end")

    async def _comes(self, answer: asyncio.Future[Any]) -> bool:
        """Wait for an answer as long as the patience lasts."""
        await asyncio.wait({answer}, timeout=self._patience)
        if not answer.done():
            # Where it was this process that stood still, the time is over before the answer is read.
            self._receive()
        return answer.done()

    def _kill(self, reason: str) -> None:
        _log.error("warm server killed", pid=self.process.pid, reason=reason)
        self.process.kill()

    def _resolve(self, number: int, outcome: Worker | LaunchError) -> None:
        answer = self._requests.pop(number)
        if answer.done():
            return
        if isinstance(outcome, LaunchError):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)


def _with_short_spins(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The environment with our spin count, unless the user says how threads wait."""
    if environment.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        return environment
    return {**environment, "GOMP_SPINCOUNT": _SPIN_COUNT}


def _ending(returncode: int) -> str:
    return f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
