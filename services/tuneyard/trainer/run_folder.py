"""A run's folder: what the server and the worker leave for each other, and for the server's next life.

request.pb, device, control, worker.json, settings.json and exit.pb are the server's; journal and scratch/
are the worker's; stderr.log is the worker's output, which the server cuts when it grows long.
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from google.protobuf.message import DecodeError

from tuneyard.rpc.errors import invalid
from tuneyard.rpc.names import job_id
from tuneyard.trainer.data_folder import sync, write_whole
from tuneyard.trainer.process import ProcessIdentity, boot_id
from tuneyard.v1.trainer_service_pb2 import RunExit, StartRunRequest, StopMode

_CONTROL = {StopMode.STOP_MODE_PAUSE: b"1", StopMode.STOP_MODE_CANCEL: b"2"}


@dataclass(frozen=True, order=True)
class RunKey:
    """Which run: an attempt of a job."""

    job: str
    """"jobs/{job}"."""
    attempt: int

    @classmethod
    def of(cls, job: str, attempt: int) -> Self:
        """Raises INVALID_FIELD for what no run can have."""
        job_id(job, field="job")
        if attempt < 1:
            raise invalid("attempt", "counts from 1")
        return cls(job, attempt)

    @property
    def folder_name(self) -> str:
        return f"{self.job.removeprefix('jobs/')}-{self.attempt}"


class RunFolder:
    """Reads and writes the files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, *, request: StartRunRequest, device: str) -> Self:
        """Make the folder; durable only after `sync`. The request comes last: without it there is no run."""
        folder = cls(path)
        (path / "scratch").mkdir(parents=True, mode=0o700)
        write_whole(path / "control", b"0")
        write_whole(path / "device", device.encode())
        write_whole(path / "request.pb", request.SerializeToString())
        return folder

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def journal(self) -> Path:
        return self.path / "journal"

    @property
    def settings(self) -> Path:
        return self.path / "settings.json"

    @property
    def output(self) -> Path:
        """The worker's standard output and error."""
        return self.path / "stderr.log"

    def sync(self) -> None:
        """Bring what `create` wrote to the disk."""
        for path in (self.path / "device", self.path / "request.pb", self.path, self.path.parent):
            sync(path)

    def read_request(self) -> StartRunRequest | None:
        """What was asked; None if the folder is no run's, or only the beginning of one."""
        with suppress(OSError, DecodeError):
            request = StartRunRequest.FromString((self.path / "request.pb").read_bytes())
            if request.job:
                return request
        return None

    def read_device(self) -> str:
        return (self.path / "device").read_text()

    def write_control(self, mode: "StopMode.ValueType") -> None:
        """Tell the worker to stop. In place: the worker keeps the file open."""
        descriptor = os.open(self.path / "control", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(descriptor, _CONTROL[mode], 0)
        finally:
            os.close(descriptor)

    def write_worker(self, process: ProcessIdentity) -> None:
        facts = {"pid": process.pid, "start_ticks": process.start_ticks, "boot_id": boot_id()}
        write_whole(self.path / "worker.json", json.dumps(facts).encode())

    def read_worker(self) -> ProcessIdentity | None:
        """The worker's process, if it was started since the machine was."""
        with suppress(OSError, ValueError, KeyError):
            facts = json.loads((self.path / "worker.json").read_bytes())
            if facts["boot_id"] == boot_id():
                return ProcessIdentity(int(facts["pid"]), int(facts["start_ticks"]))
        return None

    def write_exit(self, exit: RunExit) -> None:
        write_whole(self.path / "exit.pb", exit.SerializeToString())

    def read_exit(self) -> RunExit | None:
        with suppress(OSError, DecodeError):
            return RunExit.FromString((self.path / "exit.pb").read_bytes())
        return None
