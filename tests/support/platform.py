"""A whole Tuneyard of real processes on loopback, for tests that kill parts of it."""

import io
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import grpc
import psutil
from PIL import Image, ImageDraw

from tests.support.watcher import RETRYABLE, Watcher
from tuneyard.v1 import (
    artifact_service_pb2,
    dataset_pb2,
    dataset_service_pb2,
    event_pb2,
    job_pb2,
    system_pb2,
    system_service_pb2,
    training_pb2,
    training_service_pb2,
)
from tuneyard.v1.artifact_service_pb2_grpc import ArtifactServiceStub
from tuneyard.v1.dataset_service_pb2_grpc import DatasetServiceStub
from tuneyard.v1.system_service_pb2_grpc import SystemServiceStub
from tuneyard.v1.training_service_pb2_grpc import TrainingServiceStub

T = TypeVar("T")

TERMINAL = {job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED}


def eventually(condition: Callable[[], T], *, within: float, what: str) -> T:
    """Returns the first true result of `condition`; fails after `within` seconds."""
    deadline = time.monotonic() + within
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:.0f} s: {what}")
        time.sleep(0.02)
    return result


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# Executed, and not run between fork and exec: a child forked while gRPC is at work may never reach its exec.
_DIE_WITH_PARENT = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"
)


@dataclass
class Service:
    """One process that can be started, killed and started again on the same port and data."""

    module: str
    environment: Mapping[str, str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("TUNEYARD_")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment |= self.environment
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-S", "-c", _DIE_WITH_PARENT, sys.executable, "-m", self.module],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self, sig: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(sig)
        if self.process is not None:
            self.process.wait(20)

    def restart(self) -> None:
        self.kill()
        self.start()

    def children(self, *, of_module: str = "") -> list[psutil.Process]:
        """Returns living descendants, or those among them that run a module."""
        try:
            found = psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [child for child in found if not of_module or of_module in _command(child)]


def _answers(host: str, port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((host, port)) == 0


def _family(module: str) -> str:
    """The family that a trainer's module serves; the scripted ones in tests play vision."""
    name = module.removeprefix("tuneyard.")
    return name if name in ("diffusion", "llm") else "vision"


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


class Platform:
    """Gateways and trainers that share a data folder, a store and a database."""

    def __init__(
        self,
        root: Path,
        *,
        trainers: Mapping[str, str] | None = None,
        store: str = "",
        database: str = "",
        extra: Mapping[str, str] | None = None,
    ) -> None:
        """`trainers` maps a name to its module; `extra` is added to every process's environment."""
        self.root = root
        (root / "logs").mkdir(parents=True)
        modules = trainers or {"vision": "tuneyard.trainer.fake"}
        ports = {name: free_port() for name in modules}
        self._shared = {
            "TUNEYARD_STORE": store or f"file://{root / 'store'}",
            "TUNEYARD_LOG_FORMAT": "json",
            "TUNEYARD_TESTING": "1",
            "PYTHONPYCACHEPREFIX": os.environ.get("PYTHONPYCACHEPREFIX", ""),
            **(extra or {}),
        }
        self._gateway_settings = {
            "TUNEYARD_DATA_DIR": str(root / "gateway"),
            "TUNEYARD_TRAINERS": ",".join(
                f"{_family(modules[name])}=127.0.0.1:{port}" for name, port in ports.items()
            ),
            "TUNEYARD_IMPORT_ROOTS": str(root / "imports"),
        }
        if database:
            self._gateway_settings["TUNEYARD_DATABASE"] = database
        self.trainers = {
            name: self._service(
                module,
                name,
                TUNEYARD_TRAINER_LISTEN=f"127.0.0.1:{ports[name]}",
                TUNEYARD_TRAINER_DATA_DIR=str(root / name),
            )
            for name, module in modules.items()
        }
        self.web: Service | None = None
        self._webs: list[Service] = []
        self.gateways: list[Service] = []
        self.ports: list[int] = []
        self.add_gateway()

    def _service(self, module: str, name: str, **settings: str) -> Service:
        environment = {key: value for key, value in {**self._shared, **settings}.items() if value}
        return Service(module, environment, self.root / "logs" / f"{name}.log")

    def add_gateway(self, **settings: str) -> Service:
        """Adds one more gateway on the same database; not started yet."""
        port = free_port()
        own = {
            **self._gateway_settings,
            "TUNEYARD_LISTEN": f"127.0.0.1:{port}",
            "TUNEYARD_BLOB_LISTEN": f"127.0.0.1:{free_port()}",
            **settings,
        }
        gateway = self._service("tuneyard.gateway", f"gateway-{len(self.gateways)}", **own)
        self.gateways.append(gateway)
        self.ports.append(port)
        return gateway

    @property
    def gateway(self) -> Service:
        return self.gateways[0]

    @property
    def trainer(self) -> Service:
        return next(iter(self.trainers.values()))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.ports[0]}"

    def start(self) -> None:
        for service in (*self.trainers.values(), *self.gateways):
            service.start()
        self.wait_ready()

    def wait_ready(self, *, within: float = 60.0) -> None:
        """Waits until the first gateway answers and all trainers are ready."""
        eventually(self._all_ready, within=within, what=f"all trainers ready; see {self.root / 'logs'}")

    def _all_ready(self) -> bool:
        try:
            with self.channel() as channel:
                listed = SystemServiceStub(channel).ListTrainers(
                    system_service_pb2.ListTrainersRequest(), timeout=2
                )
        except grpc.RpcError:
            return False
        ready = [t for t in listed.trainers if t.health == system_pb2.TRAINER_HEALTH_READY]
        return len(ready) == len(self.trainers)

    def start_web(self, **settings: str) -> str:
        """Starts a web server for the first gateway; returns its address, such as "http://127.0.0.1:8000"."""
        own = {
            "TUNEYARD_WEB_LISTEN": f"127.0.0.1:{free_port()}",
            "TUNEYARD_SERVER": self.address,
            **settings,
        }
        self.web = self._service("tuneyard.web", f"web-{len(self._webs)}", **own)
        self._webs.append(self.web)
        self.web.start()
        listen = own["TUNEYARD_WEB_LISTEN"]
        host, _, port = listen.rpartition(":")
        eventually(lambda: _answers(host, int(port)), within=20, what="the web server's port")
        return f"http://{listen}"

    def stop(self) -> None:
        services = [*self.gateways, *self.trainers.values(), *self._webs]
        for service in services:
            if service.process is not None and service.process.poll() is None:
                service.process.send_signal(signal.SIGTERM)
        for service in services:
            if service.process is None:
                continue
            try:
                service.process.wait(10)
            except subprocess.TimeoutExpired:
                service.process.kill()
                service.process.wait(10)

    def channel(self, index: int = 0) -> grpc.Channel:
        return grpc.insecure_channel(
            f"127.0.0.1:{self.ports[index]}",
            options=[("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 500)],
        )

    def call(self, method: Callable[[grpc.Channel], T], *, within: float = 30.0) -> T:
        """Calls until it is answered: a restarting gateway is UNAVAILABLE for a moment."""
        deadline = time.monotonic() + within
        while True:
            try:
                with self.channel() as channel:
                    return method(channel)
            except grpc.RpcError as error:
                if error.code() not in RETRYABLE or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def training(self, channel: grpc.Channel) -> TrainingServiceStub:
        return TrainingServiceStub(channel)

    def datasets(self, channel: grpc.Channel) -> DatasetServiceStub:
        return DatasetServiceStub(channel)

    def artifacts(self, channel: grpc.Channel) -> ArtifactServiceStub:
        return ArtifactServiceStub(channel)

    def upload_images(self, name: str = "tiny", data: bytes = b"") -> str:
        """Uploads an image-folder ZIP, by default a few drawn images; returns its name when it is READY."""
        data = data or drawn_images()
        create = dataset_service_pb2.CreateDatasetRequest(
            dataset_id=name,
            format=dataset_pb2.DATASET_FORMAT_IMAGE_FOLDER,
            size_bytes=len(data),
            request_id=name,
        )
        self.call(lambda channel: DatasetServiceStub(channel).CreateDataset(create, timeout=10))
        parts = [
            dataset_service_pb2.UploadDatasetRequest(
                header=dataset_service_pb2.UploadHeader(name=f"datasets/{name}")
            ),
            dataset_service_pb2.UploadDatasetRequest(chunk=data),
        ]
        self.call(lambda channel: DatasetServiceStub(channel).UploadDataset(iter(parts), timeout=30))
        eventually(
            lambda: self.dataset(name).state != dataset_pb2.DATASET_STATE_VALIDATING,
            within=60,
            what=f"the validation of {name}",
        )
        assert self.dataset(name).state == dataset_pb2.DATASET_STATE_READY, self.dataset(name)
        return f"datasets/{name}"

    def dataset(self, name: str) -> dataset_pb2.Dataset:
        request = dataset_service_pb2.GetDatasetRequest(name=f"datasets/{name}")
        return self.call(lambda channel: DatasetServiceStub(channel).GetDataset(request, timeout=10)).dataset

    def train(
        self, spec: training_pb2.TrainingSpec, *, request_id: str = "", priority: int = 0
    ) -> job_pb2.Job:
        request = training_service_pb2.TrainRequest(spec=spec, request_id=request_id, priority=priority)
        return self.call(lambda channel: TrainingServiceStub(channel).Train(request, timeout=30)).job

    def job(self, name: str) -> job_pb2.Job:
        request = training_service_pb2.GetJobRequest(name=name)
        return self.call(lambda channel: TrainingServiceStub(channel).GetJob(request, timeout=10)).job

    def cancel(self, name: str) -> job_pb2.Job:
        request = training_service_pb2.CancelJobRequest(name=name)
        return self.call(lambda channel: TrainingServiceStub(channel).CancelJob(request, timeout=10)).job

    def pause(self, name: str) -> job_pb2.Job:
        request = training_service_pb2.PauseJobRequest(name=name)
        return self.call(lambda channel: TrainingServiceStub(channel).PauseJob(request, timeout=10)).job

    def resume(self, name: str) -> job_pb2.Job:
        request = training_service_pb2.ResumeJobRequest(name=name)
        return self.call(lambda channel: TrainingServiceStub(channel).ResumeJob(request, timeout=10)).job

    def artifact(self, job: str, path: str) -> bytes:
        """Returns the bytes of one artifact of a job."""
        request = artifact_service_pb2.DownloadArtifactRequest(name=f"{job}/artifacts/{path}")
        return self.call(
            lambda channel: b"".join(
                part.chunk for part in self.artifacts(channel).DownloadArtifact(request, timeout=60)
            )
        )

    def watch(self, name: str, *, gateway: int = 0) -> Watcher:
        return Watcher(name, lambda: self.channel(gateway)).start()

    def workers(self) -> list[psutil.Process]:
        """Returns the workers of all trainers: what their warm servers forked."""
        found: list[psutil.Process] = []
        for trainer in self.trainers.values():
            for warm in trainer.children(of_module="tuneyard.trainer.warm"):
                try:
                    found += [child for child in warm.children() if child.status() != psutil.STATUS_ZOMBIE]
                except psutil.NoSuchProcess:
                    continue
        return found


@contextmanager
def platform(root: Path, **options: object) -> Iterator[Platform]:
    """A started platform, stopped at the end whatever happens."""
    started = Platform(root, **options)  # type: ignore[arg-type]
    try:
        started.start()
        yield started
    finally:
        started.stop()


def drawn_images(*, per_class: int = 6, size: int = 16) -> bytes:
    """A ZIP in image-folder layout: discs and squares, every image different."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        for index in range(per_class):
            for label in ("disc", "square"):
                image = Image.new("RGB", (size, size), (index * 9, 40, 90))
                pen = ImageDraw.Draw(image)
                box = (2 + index % 3, 2, size - 3, size - 3 - index % 2)
                (pen.ellipse if label == "disc" else pen.rectangle)(box, fill=(230, 200 - index * 5, 60))
                encoded = io.BytesIO()
                image.save(encoded, "PNG")
                # A fixed date: the same call gives the same bytes, today and tomorrow.
                entry = zipfile.ZipInfo(f"train/{label}/{index}.png", (2026, 1, 1, 0, 0, 0))
                target.writestr(entry, encoded.getvalue())
    return archive.getvalue()


def fake_spec(script: str, **settings: object) -> training_pb2.TrainingSpec:
    """A spec for the scripted fake recipe, such as "steps=100,step_ms=5,save=20"."""
    return training_pb2.TrainingSpec(
        dataset="datasets/tiny",
        base_model=f"fake:{script}",
        image_classifier=training_pb2.ImageClassifier(),
        **settings,  # type: ignore[arg-type]
    )


def assert_gapless(events: list[event_pb2.JobEvent]) -> None:
    """The sequences are exactly 1 … n."""
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
