"""What both real launchers promise."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from tests.support.trainer_process import eventually
from tuneyard.trainer.launcher import ExecLauncher, Launcher, LauncherLost, LaunchError
from tuneyard.trainer.process import is_alive
from tuneyard.trainer.warm_launcher import WarmLauncher

pytestmark = pytest.mark.integration

WORKER = """
import os, sys, time
from pathlib import Path
from tuneyard.trainer.process import begin_worker

def run_worker(run_dir: Path) -> int:
    facts = [os.environ.get("NAME", ""), os.getsid(0) == os.getpid(), os.getppid()]
    (run_dir / "facts").write_text(repr(facts))
    print("a word")
    command = (run_dir / "command").read_text()
    if command == "raise":
        raise RuntimeError("oh")
    if command == "hang":
        time.sleep(60)
    return int(command)

if __name__ == "__main__":
    begin_worker(os.getppid())
    sys.exit(run_worker(Path(sys.argv[1])))
"""

# What the process had at its start, which is when libgomp is loaded: not what was set in it later.
ENVIRONMENT_WORKER = """
import sys
from pathlib import Path

def run_worker(run_dir: Path) -> int:
    given = dict(line.partition("=")[::2] for line in Path("/proc/self/environ").read_text().split(chr(0)))
    (run_dir / "spinning").write_text(str(given.get("GOMP_SPINCOUNT")))
    return 0

if __name__ == "__main__":
    sys.exit(run_worker(Path(sys.argv[1])))
"""
SPINNING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")

Launch = Callable[[str], "asyncio.Task[object]"]


@pytest.fixture(params=["exec", "warm"])
async def launcher(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Launcher]:
    (tmp_path / "told_worker.py").write_text(WORKER)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "NAME": "inherited"}
    launcher: Launcher
    if request.param == "exec":
        launcher = ExecLauncher(environment=environment, worker="told_worker")
    else:
        launcher = WarmLauncher(
            preload=(), log_path=tmp_path / "warm.log", environment=environment, worker="told_worker"
        )
    await launcher.start()
    async with asyncio.timeout(20):
        await launcher.wait_ready()
    yield launcher
    await launcher.close()


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


async def test_a_worker_leads_a_session_with_its_own_environment(launcher: Launcher, run_dir: Path) -> None:
    parents: list[int] = []
    (run_dir / "command").write_text("0")
    worker = await launcher.launch(run_dir, env={"NAME": "given"}, prepare=parents.append)
    ended = await asyncio.wait_for(worker.ended, 20)
    assert (ended.exit_code, ended.signal, ended.lost) == (0, 0, False)
    assert (run_dir / "facts").read_text() == repr(["given", True, parents[0]])
    assert (run_dir / "stderr.log").read_text() == "a word\n"


async def test_exit_codes_and_exceptions_are_told(launcher: Launcher, run_dir: Path) -> None:
    for command, code in (("7", 7), ("raise", 1)):
        (run_dir / "command").write_text(command)
        worker = await launcher.launch(run_dir, env={}, prepare=lambda pid: None)
        assert (await asyncio.wait_for(worker.ended, 20)).exit_code == code
    assert "RuntimeError: oh" in (run_dir / "stderr.log").read_text()


async def test_a_worker_appends_its_output_and_so_outlives_a_cut(launcher: Launcher, run_dir: Path) -> None:
    (run_dir / "command").write_text("hang")
    worker = await launcher.launch(run_dir, env={}, prepare=lambda pid: None)
    async with asyncio.timeout(20):
        while not (run_dir / "facts").exists():
            await asyncio.sleep(0.01)
    for descriptor in (1, 2):
        info = Path(f"/proc/{worker.process.pid}/fdinfo/{descriptor}").read_text()
        flags = int(info.split("flags:")[1].split()[0], 8)
        assert flags & os.O_APPEND
    os.kill(worker.process.pid, signal.SIGTERM)
    await asyncio.wait_for(worker.ended, 20)


async def test_a_signal_is_told(launcher: Launcher, run_dir: Path) -> None:
    (run_dir / "command").write_text("hang")
    worker = await launcher.launch(run_dir, env={}, prepare=lambda pid: None)
    os.kill(worker.process.pid, signal.SIGTERM)
    ended = await asyncio.wait_for(worker.ended, 20)
    assert (ended.exit_code, ended.signal, ended.out_of_memory) == (0, signal.SIGTERM, False)


async def test_closing_ends_the_workers(launcher: Launcher, run_dir: Path) -> None:
    (run_dir / "command").write_text("hang")
    worker = await launcher.launch(run_dir, env={}, prepare=lambda pid: None)
    await launcher.close()
    await asyncio.wait_for(worker.ended, 20)
    await asyncio.to_thread(eventually, lambda: not is_alive(worker.process))


@pytest.fixture
async def impatient(tmp_path: Path) -> AsyncIterator[WarmLauncher]:
    """A warm launcher that waits half a second for an answer."""
    (tmp_path / "told_worker.py").write_text(WORKER)
    launcher = WarmLauncher(
        preload=(),
        log_path=tmp_path / "warm.log",
        environment={**os.environ, "PYTHONPATH": str(tmp_path)},
        worker="told_worker",
        patience=timedelta(seconds=0.5),
    )
    await launcher.start()
    async with asyncio.timeout(20):
        await launcher.wait_ready()
    yield launcher
    await launcher.close()


def stop_warm_server(launcher: WarmLauncher) -> int:
    assert launcher.warm_pid is not None
    os.kill(launcher.warm_pid, signal.SIGSTOP)
    return launcher.warm_pid


async def test_a_warm_server_that_hangs_is_replaced_by_the_next_launch(
    impatient: WarmLauncher, run_dir: Path
) -> None:
    (run_dir / "command").write_text("7")
    hung = stop_warm_server(impatient)
    async with asyncio.timeout(20):
        with pytest.raises(LauncherLost, match="does not answer"):
            await impatient.launch(run_dir, env={}, prepare=lambda pid: None)
        assert not impatient.state.ready
        await impatient.wait_ready()
        worker = await impatient.launch(run_dir, env={}, prepare=lambda pid: None)
        assert (await worker.ended).exit_code == 7
    assert impatient.warm_pid != hung and not psutil.pid_exists(hung)


async def test_a_warm_server_that_does_not_tell_of_an_end_is_replaced(
    impatient: WarmLauncher, run_dir: Path
) -> None:
    (run_dir / "command").write_text("hang")
    worker = await impatient.launch(run_dir, env={}, prepare=lambda pid: None)
    hung = stop_warm_server(impatient)
    os.kill(worker.process.pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        assert (await worker.ended).lost
        await impatient.wait_ready()
    assert impatient.warm_pid != hung


async def test_a_launch_that_is_given_up_leaves_no_worker(impatient: WarmLauncher, run_dir: Path) -> None:
    (run_dir / "command").write_text("hang")
    hung = stop_warm_server(impatient)
    launch = asyncio.create_task(impatient.launch(run_dir, env={}, prepare=lambda pid: None))
    await asyncio.sleep(0)
    launch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await launch
    async with asyncio.timeout(20):
        await impatient.wait_ready()
    assert impatient.warm_pid != hung and not (run_dir / "facts").exists()


async def test_a_worker_that_cannot_be_prepared_is_not_launched(launcher: Launcher, run_dir: Path) -> None:
    def fail(parent_pid: int) -> None:
        raise LaunchError("the disk is full")

    with pytest.raises(LaunchError, match="full"):
        await launcher.launch(run_dir, env={}, prepare=fail)


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "10000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, "None"),
    ],
)
async def test_idle_threads_of_a_worker_spin_briefly_unless_the_user_wants_otherwise(
    tmp_path: Path, run_dir: Path, warm: bool, given: dict[str, str], expected: str
) -> None:
    (tmp_path / "telling_worker.py").write_text(ENVIRONMENT_WORKER)
    own = {name: value for name, value in os.environ.items() if name not in SPINNING}
    launcher = WarmLauncher(
        preload=() if warm else ("tests.support.imports.threaded",),
        log_path=tmp_path / "warm.log",
        environment={**own, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}", **given},
        worker="telling_worker",
    )
    await launcher.start()
    async with asyncio.timeout(20):
        await launcher.wait_ready()
        assert launcher.state.warm is warm
        worker = await launcher.launch(run_dir, env={}, prepare=lambda pid: None)
        await worker.ended
    await launcher.close()
    assert (run_dir / "spinning").read_text() == expected


async def test_a_warm_server_that_never_gets_ready_is_given_up(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    (tmp_path / "deadly.py").write_text("import os; os._exit(3)")
    launcher = WarmLauncher(
        preload=("deadly",), log_path=tmp_path / "warm.log", environment=environment, give_up_after=2
    )
    await launcher.start()
    async with asyncio.timeout(20):
        await launcher.wait_ready()
    assert not launcher.state.warm and "did not get ready" in launcher.state.problem
    await launcher.close()
