"""One real trainer in a process of its own, for tests that kill it and its children."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import grpc
import psutil

from tuneyard.storage import FolderStore
from tuneyard.v1 import trainer_service_pb2 as pb
from tuneyard.v1.system_pb2 import SlotKind, TrainerHealth
from tuneyard.v1.trainer_service_pb2_grpc import TrainerServiceStub

T = TypeVar("T")


def eventually(condition: Callable[[], T], *, within: float = 30.0) -> T:
    """The first true value that the condition gives; an assertion fails if there is none in time."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return value


class TrainerProcess:
    """The scripted trainer on a folder of its own. `start` again after `kill` is a restart."""

    def __init__(
        self, root: Path, *, module: str = "tests.support.scripted_trainer", devices: str = "cpu"
    ) -> None:
        self.data_dir = root / "data"
        self.log = root / "trainer.log"
        self._imported = root / "imported"
        self._module = module
        self._devices = devices
        self._store = root / "store"
        FolderStore(self._store, public_url="http://127.0.0.1:1")
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: grpc.Channel | None = None
        self._epoch = 1

    def start(self, **environment: str) -> "TrainerProcess":
        """Start the program and wait until it answers; its warm server may not be ready yet."""
        address_file = self.log.stat().st_size if self.log.exists() else 0
        repository = Path(__file__).parents[2]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                cwd=repository,
                env=os.environ
                | {
                    "PYTHONPATH": str(repository),
                    "TUNEYARD_TRAINER_DATA_DIR": str(self.data_dir),
                    "TUNEYARD_TRAINER_LISTEN": "127.0.0.1:0",
                    "TUNEYARD_STORE": self._store.as_uri(),
                    "TUNEYARD_DEVICES": self._devices,
                    "TUNEYARD_LOG_FORMAT": "json",
                }
                | environment,
                stdout=log,
                stderr=log,
            )
        address = eventually(lambda: self._address(address_file), within=30)
        self._channel = grpc.insecure_channel(address)
        self.stub = TrainerServiceStub(self._channel)
        return self

    def start_ready(self, **environment: str) -> "TrainerProcess":
        """`start`, and wait for the warm server."""
        self.start(**environment)
        eventually(lambda: self.info().trainer.health == TrainerHealth.TRAINER_HEALTH_READY, within=60)
        return self

    def start_importing(self) -> "TrainerProcess":
        """`start`, with a warm server that goes on importing until `finish_imports`."""
        self._imported.unlink(missing_ok=True)
        return self.start(
            SCRIPTED_PRELOAD="tests.support.imports.slow", SCRIPTED_IMPORTED=str(self._imported)
        )

    def finish_imports(self) -> None:
        self._imported.touch()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def warm_server(self) -> psutil.Process | None:
        """The warm server: the trainer's child that runs our program."""
        for child in psutil.Process(self.pid).children():
            if "tuneyard.trainer.warm" in " ".join(child.cmdline()):
                return child
        return None

    def workers(self) -> list[psutil.Process]:
        warm = self.warm_server()
        return warm.children() if warm else []

    def kill(self) -> None:
        """SIGKILL, as a crash would do."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)
        self._close_channel()

    def terminate(self, *, while_stopping: Callable[[], object] = lambda: None) -> tuple[int, float]:
        """SIGTERM; the exit code, and the seconds it took."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        while_stopping()
        code = self._process.wait(20)
        self._close_channel()
        return code, time.monotonic() - began

    def info(self, *, epoch: int = 0) -> pb.GetTrainerInfoResponse:
        return self.stub.GetTrainerInfo(pb.GetTrainerInfoRequest(controller_epoch=epoch), timeout=10)

    def run(self, job: str, script: str, *, attempt: int = 1, epoch: int = 1, force_cpu: bool = False) -> str:
        """Start a run and return its device."""
        request = pb.StartRunRequest(
            controller_epoch=epoch,
            job=f"jobs/{job}",
            attempt=attempt,
            slot=SlotKind.SLOT_KIND_DEVICE,
            prefix=f"jobs/{job}/attempts/{attempt}",
        )
        request.spec.training.base_model = script
        request.spec.training.resources.force_cpu = force_cpu
        return self.stub.StartRun(request, timeout=10).device

    def stop(self, job: str, mode: "pb.StopMode.ValueType", *, attempt: int = 1, epoch: int = 1) -> None:
        request = pb.StopRunRequest(controller_epoch=epoch, job=f"jobs/{job}", attempt=attempt, mode=mode)
        self.stub.StopRun(request, timeout=10)

    def release(self, job: str, *, attempt: int = 1, epoch: int = 1) -> None:
        request = pb.ReleaseRunRequest(controller_epoch=epoch, job=f"jobs/{job}", attempt=attempt)
        self.stub.ReleaseRun(request, timeout=10)

    def watch(
        self, job: str, *, attempt: int = 1, after: int = 0, timeout: float = 30
    ) -> Iterator[pb.WatchRunResponse]:
        request = pb.WatchRunRequest(job=f"jobs/{job}", attempt=attempt, after_run_sequence=after)
        return self.stub.WatchRun(request, timeout=timeout)

    def read(
        self, job: str, *, attempt: int = 1, after: int = 0, timeout: float = 30
    ) -> tuple[list[pb.RunRecord], pb.RunExit]:
        """The whole journal and the exit, once the run has ended."""
        records: list[pb.RunRecord] = []
        for response in self.watch(job, attempt=attempt, after=after, timeout=timeout):
            records += response.records
            if response.HasField("exit"):
                return records, response.exit
        raise AssertionError("the stream ended without the exit")

    def wait_for_record(self, job: str, kind: str, *, attempt: int = 1) -> pb.RunRecord:
        """The first record of a kind, such as "started"."""
        for response in self.watch(job, attempt=attempt):
            for record in response.records:
                if record.WhichOneof("body") == kind:
                    return record
        raise AssertionError(f"no record {kind}")

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.terminate()

    def _address(self, offset: int) -> str:
        assert self._process is not None
        with self.log.open("rb") as file:
            file.seek(offset)
            text = file.read().decode()
        assert self._process.poll() is None, text
        ready = [line for line in text.splitlines() if '"trainer ready"' in line]
        return ready[0].partition('"address": "')[2].partition('"')[0] if ready else ""

    def _close_channel(self) -> None:
        if self._channel is not None:
            self._channel.close()
