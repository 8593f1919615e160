"""The warm server: a program that imports a family's libraries once and forks a worker for each run.

It does nothing but import, fork and wait, in one thread: no gRPC, no CUDA, no arithmetic, because a process
that did any of these cannot fork safely. The trainer execs it and speaks to it over a socket that it
inherits, SOCK_SEQPACKET, one JSON object a message:

    in    {"fork": ID, "run_dir": DIR, "env": {NAME: VALUE}, "worker": MODULE, "" for the run's}
    out   {"ready": {"failed_imports": {MODULE: ERROR}}}      once, or
          {"unfit": REASON}                                   where it cannot fork safely; it then ends
          {"forked": ID, "pid": PID, "start_ticks": TICKS}    or {"refused": ID, "reason": REASON}
          {"ended": PID, "status": WAIT_STATUS, "out_of_memory": BOOL}

It dies with the trainer, and the workers with it.
"""

import argparse
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tuneyard.trainer.cgroup import OutOfMemoryKills
from tuneyard.trainer.hub_kernels import forbid_hub_kernels
from tuneyard.trainer.process import (
    ParentGone,
    ProcessIdentity,
    adopt_orphans,
    begin_worker,
    die_with_parent,
    identify,
    kill_group,
    thread_count,
)
from tuneyard.trainer.untouched_cuda import capabilities_from_driver

MAX_MESSAGE_BYTES = 128 << 10
CANARY_SECONDS = 30.0
"""A healthy canary takes milliseconds; a loaded machine may take seconds; a deadlock takes forever."""


class WarmServer:
    """Forks workers on request and reports how they end."""

    def __init__(self, connection: socket.socket, *, worker: str) -> None:
        self._connection = connection
        self._worker = worker
        self._kills = OutOfMemoryKills()
        self._workers: dict[int, tuple[ProcessIdentity, int]] = {}
        self._wake, wake_sender = socket.socketpair()
        self._wake_sender = wake_sender
        for end in (self._wake, wake_sender):
            end.setblocking(False)

    def serve(self) -> None:
        """Serve until the trainer closes the connection."""
        signal.set_wakeup_fd(self._wake_sender.fileno(), warn_on_full_buffer=False)
        # A wake-up byte is written only for signals that have a handler.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._wake.fileno() in ready:
                self._wake.recv(4096)
                self._reap()
            if self._connection.fileno() in ready:
                message = self._connection.recv(MAX_MESSAGE_BYTES)
                if not message:
                    break
                self._fork(json.loads(message))
        for identity, _ in self._workers.values():
            kill_group(identity)

    def _fork(self, request: dict[str, Any]) -> None:
        threads = thread_count()
        if threads != 1:
            self._refuse(request, f"the warm server has {threads} threads")
            return
        kills = self._kills.count()
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._refuse(request, f"fork: {error.strerror}")
            return
        if pid == 0:
            module = request["worker"] or self._worker
            self._become_worker(parent, module, Path(request["run_dir"]), request["env"])
        # Not reaped before this function returns, so the process is there.
        identity = identify(pid) or ProcessIdentity(pid, 0)
        self._workers[pid] = identity, kills
        self._send({"forked": request["fork"], "pid": pid, "start_ticks": identity.start_ticks})

    def _become_worker(self, parent: int, module: str, run_dir: Path, env: dict[str, str]) -> NoReturn:
        code = 1
        try:
            begin_worker(parent)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for end in (self._connection, self._wake, self._wake_sender):
                end.close()
            _write_output_to(run_dir / "stderr.log")
            os.environ.update(env)
            code = importlib.import_module(module).run_worker(run_dir)
        except ParentGone:
            pass
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            # Not an ordinary exit: what the libraries registered for it belongs to the warm server.
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            # Others are orphans that workers left behind.
            if worker := self._workers.pop(pid, None):
                killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
                out_of_memory = killed and self._kills.claim(since=worker[1])
                self._send({"ended": pid, "status": status, "out_of_memory": out_of_memory})

    def _refuse(self, request: dict[str, Any], reason: str) -> None:
        self._send({"refused": request["fork"], "reason": reason})

    def _send(self, message: dict[str, Any]) -> None:
        send(self._connection, message)


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    """Send one message; a trainer that is gone is no error, the kernel ends us with it."""
    try:
        connection.send(json.dumps(message).encode())
    except (BrokenPipeError, ConnectionResetError):
        return


def import_modules(names: Iterable[str]) -> dict[str, str]:
    """Import modules and, where one has a `PRELOAD`, those that it names; return what failed, by name."""
    failed: dict[str, str] = {}
    waiting, seen = list(names), set[str]()
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        try:
            with capabilities_from_driver():
                module = importlib.import_module(name)
        except Exception as error:
            # Not only ImportError: a library may raise anything when it finds the machine unfit.
            failed[name] = f"{type(error).__name__}: {error}"
            traceback.print_exc()
        else:
            waiting += getattr(module, "PRELOAD", ())
    return failed


def unfit_to_fork(*, canary_seconds: float = CANARY_SECONDS) -> str:
    """Why this process must not fork workers; empty if it may.

    A forked canary computes with two threads, which is what hangs after an import that computed.
    """
    threads = thread_count()
    if threads != 1:
        return f"the imports left {threads} threads"
    if cuda_initialised():
        return "the imports initialised CUDA"
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _compute_with_two_threads()
            code = 0
        finally:
            os._exit(code)
    watcher = os.pidfd_open(pid)
    try:
        ended = bool(select.select([watcher], [], [], canary_seconds)[0])
        if not ended:
            signal.pidfd_send_signal(watcher, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(watcher)
    if not ended:
        return f"a forked computation did not end within {canary_seconds:g} s"
    return "" if status == 0 else f"a forked computation failed with {os.waitstatus_to_exitcode(status)}"


def cuda_initialised() -> bool:
    """True if torch or the driver says that this process has initialised CUDA: its children cannot use it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return True
    if "/libcuda.so" not in Path("/proc/self/maps").read_text():
        return False
    context = ctypes.c_void_p()
    not_initialised = 3  # CUDA_ERROR_NOT_INITIALIZED
    return int(ctypes.CDLL("libcuda.so.1").cuCtxGetCurrent(ctypes.byref(context))) != not_initialised


def _compute_with_two_threads() -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(2)
        # Large enough for the matrix library and torch's own loops to use both threads.
        square = torch.ones(512, 512)
        torch.add(square @ square, 1.0).sum().item()
    thread = threading.Thread(target=sum, args=(range(1000),))
    thread.start()
    thread.join()


def _write_output_to(path: Path) -> None:
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.close(log)
    os.close(null)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tuneyard.trainer.warm", description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="the inherited connection's descriptor")
    parser.add_argument("--parent", type=int, required=True, help="the trainer's process id")
    parser.add_argument("--preload", default="", help="modules to import, separated by commas")
    parser.add_argument("--worker", default="tuneyard.trainer.worker", help="the module with run_worker")
    options = parser.parse_args(arguments)
    try:
        die_with_parent(options.parent)
    except ParentGone:
        return 1
    # The terminal's Ctrl-C is the trainer's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(fileno=options.socket)
    connection.set_inheritable(False)
    forbid_hub_kernels()
    failed = import_modules(name for name in options.preload.split(",") if name)
    if reason := unfit_to_fork():
        send(connection, {"unfit": reason})
        return 0
    adopt_orphans()
    # Moved out of the collector's sight, so that a collection in a worker copies none of these pages.
    gc.collect()
    gc.freeze()
    send(connection, {"ready": {"failed_imports": failed}})
    WarmServer(connection, worker=options.worker).serve()
    return 0


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # An ordinary exit lets the libraries clean up, which takes them longer than the trainer waits.
    os._exit(exit_code)
