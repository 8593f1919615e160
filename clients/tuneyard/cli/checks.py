"""What `tuneyard doctor` looks at, one function each. They change nothing that stays."""

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tuneyard.cli import services
from tuneyard.cli.formats import size
from tuneyard.client import Client, ConnectionSettings, TuneyardError
from tuneyard.datasets.words import counted

_LEAST_FREE_BYTES: Final = 2 * 1024**3
_FEW_FREE_BYTES: Final = 20 * 1024**3
_SHARED_MEMORY: Final = Path("/dev/shm")
# A batch of 16 images of 640 px has 19 MiB, and each process has two ready. A container's default is 64 MiB.
_LITTLE_SHARED_BYTES: Final = 512 * 1024**2
_SAMPLE_BYTES: Final = 64 * 1024 * 1024
_SLOW_BYTES_PER_SECOND: Final = 50 * 1024 * 1024
_DEVICES_SECONDS: Final = 120.0
_CONNECT_SECONDS: Final = 3.0

# In a process of its own: torch is large, and the command line must not depend on it.
_ASK_TORCH: Final = """
import json, torch
count = torch.cuda.device_count()
names = [torch.cuda.get_device_properties(i) for i in range(count)]
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda,
                  "devices": [[p.name, p.total_memory] for p in names]}))
"""


@dataclass(frozen=True)
class Check:
    """What was found out, and what to do where it is not well."""

    name: str
    state: str
    """"ok", "warning" or "failed"."""
    detail: str
    remedy: str = ""


def check_python() -> Check:
    """The interpreter and the machine."""
    found = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if platform.system() != "Linux":
        return Check("python", "warning", f"{found}; services run on Linux only", "run them on Linux")
    cores = counted(os.cpu_count() or 1, "core")
    return Check("python", "ok", f"{found}, {cores}, tuneyard {version('tuneyard')}")


def check_extras() -> Iterator[Check]:
    """What can run here. Only a gateway without any family is a fault."""
    missing = services.missing_modules("gateway")
    if missing:
        detail = f"{', '.join(missing)} not installed"
        yield Check("gateway", "warning", detail, "pip install 'tuneyard[gateway]' to serve from here")
    else:
        yield Check("gateway", "ok", "installed")
    for family in services.FAMILIES:
        if not services.is_served(family):
            continue
        reason = services.unavailable(family).partition(": ")[2]
        yield Check(family, "warning" if reason else "ok", reason or _versions(services.EXTRAS[family]))
    if not services.unavailable("vision"):
        yield _check_detector()


def _check_detector() -> Check:
    if services.missing_modules("detector"):
        remedy = "pip install 'tuneyard[detector]' to train object detectors; its licence is AGPL-3.0"
        return Check("detector", "warning", "ultralytics not installed", remedy)
    return Check("detector", "ok", _versions(services.EXTRAS["detector"]))


def check_devices(environment: dict[str, str]) -> Check:
    """The accelerators that torch sees."""
    if "torch" in services.missing_modules("vision"):
        return Check("devices", "warning", "torch is not installed", "pip install 'tuneyard[vision]'")
    try:
        answer = subprocess.run(
            [sys.executable, "-c", _ASK_TORCH],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_DEVICES_SECONDS,
            check=True,
        )
    except (subprocess.SubprocessError, OSError) as error:
        lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        return Check("devices", "failed", f"torch does not work: {lines[-1]}", "reinstall torch")
    found = json.loads(answer.stdout)
    devices = [f"{name} with {size(memory)}" for name, memory in found["devices"]]
    if not devices:
        detail = f"no accelerator; torch {found['torch']} computes on the processor"
        return Check("devices", "warning", detail, "training works, slowly")
    return Check("devices", "ok", ", ".join(devices))


def check_disk(data: Path) -> Check:
    """Room and read speed where the data is."""
    folder = _existing(data)
    free = shutil.disk_usage(folder).free
    if free < _LEAST_FREE_BYTES:
        return Check(
            "disk", "failed", f"{size(free)} free at {folder}", "free some, or take another --data-dir"
        )
    try:
        speed = _read_speed(folder)
    except OSError as error:
        return Check("disk", "failed", f"{folder}: {error.strerror}", "take another --data-dir")
    detail = f"{size(free)} free at {folder}, reads {size(int(speed))}/s"
    if speed < _SLOW_BYTES_PER_SECOND:
        return Check("disk", "warning", detail, "training waits for a disk as slow: take a local one")
    if free < _FEW_FREE_BYTES:
        return Check("disk", "warning", detail, "large models and their checkpoints need more")
    return Check("disk", "ok", detail)


def check_shared_memory(folder: Path = _SHARED_MEMORY) -> Check:
    """Room for what processes that prepare batches pass on: containers have little."""
    try:
        found = os.statvfs(folder)
    except OSError as error:
        detail = f"{folder}: {error.strerror}"
        return Check("shared memory", "warning", detail, "detectors prepare batches in one process")
    detail = f"{size(found.f_bavail * found.f_frsize)} free at {folder}"
    if found.f_blocks * found.f_frsize < _LITTLE_SHARED_BYTES:
        remedy = "give the container more: docker run --shm-size=2g, or --ipc=host"
        detail += ": detectors prepare batches in fewer processes"
        return Check("shared memory", "warning", detail, remedy)
    return Check("shared memory", "ok", detail)


def check_ports(server: str) -> Check:
    """Whether `tuneyard up` could listen, unless it is what listens."""
    families = [family for family in services.FAMILIES if not services.unavailable(family)]
    wanted = {name: services.DEFAULT_PORTS[name] for name in services.listeners(families)}
    taken = {name: port for name, port in wanted.items() if not services.is_free(port)}
    if not taken:
        return Check("ports", "ok", f"{', '.join(map(str, wanted.values()))} are free")
    detail = ", ".join(f"{port} ({name})" for name, port in taken.items()) + " in use"
    if _answers(server):
        return Check("ports", "ok", f"{detail}; a server answers at {server}")
    return Check("ports", "warning", detail, "tuneyard up --ports auto")


def check_store(url: str, endpoint: str) -> Check:
    """Whether the store can be reached: written to, for a folder."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        folder = _existing(Path(parts.path))
        if os.access(folder, os.W_OK):
            return Check("store", "ok", f"folder {parts.path}")
        return Check("store", "failed", f"{folder} cannot be written to", "change its owner, or take another")
    if parts.scheme != "s3":
        return Check("store", "failed", f"{url!r} is neither file:// nor s3://", "correct TUNEYARD_STORE")
    if not endpoint:
        return Check("store", "failed", f"{url}: no endpoint", "set TUNEYARD_S3_ENDPOINT=HOST:PORT")
    return _reachable("store", endpoint, default_port=443, what=url)


def check_database(url: str) -> Check:
    """Whether the database can be reached: written to, for SQLite."""
    parts = urlsplit(url)
    if parts.scheme.startswith("sqlite"):
        folder = _existing(
            Path(parts.path.removeprefix("/")).parent if parts.netloc else Path(parts.path[1:]).parent
        )
        if os.access(folder, os.W_OK):
            return Check("database", "ok", f"SQLite {parts.path[1:]}")
        return Check(
            "database", "failed", f"{folder} cannot be written to", "change its owner, or take another"
        )
    # Without user and password, which are no one's business.
    where = f"{parts.hostname}:{parts.port or 5432}"
    return _reachable("database", where, default_port=5432, what="PostgreSQL")


def check_server(settings: ConnectionSettings) -> Iterator[Check]:
    """Whether a server answers, its release, and how its trainers are."""
    with Client(settings) as client:
        try:
            info, trainers = client.server_info(), client.trainers()
        except TuneyardError as error:
            yield Check("server", "warning", error.message, "tuneyard up")
            return
    detail = (
        f"{settings.server}: release {info.version}, store {info.store_kind}, database {info.database_kind}"
    )
    if info.version and info.version != version("tuneyard"):
        remedy = "client and server should be of one release"
        yield Check("server", "warning", f"{detail}; here {version('tuneyard')}", remedy)
    else:
        yield Check("server", "ok", detail)
    for trainer in trainers:
        # READY is 1; problems are told in words.
        state = "ok" if trainer.health == 1 else "warning"
        yield Check(f"trainer {trainer.address}", state, trainer.problem or f"release {trainer.version}")


def _versions(modules: Sequence[str]) -> str:
    found = []
    for module in modules:
        try:
            found.append(f"{module} {version(module)}")
        except PackageNotFoundError:
            found.append(module)
    return ", ".join(found)


def _existing(path: Path) -> Path:
    """The nearest folder that is there already: what is not yet there can be made below it."""
    while not path.exists():
        path = path.parent
    return path


def _read_speed(folder: Path) -> float:
    """Bytes per second of reading a new file back, past the page cache."""
    block = os.urandom(1024 * 1024)
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_SAMPLE_BYTES // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        started = time.perf_counter()
        while file.read(len(block)):
            pass
        return _SAMPLE_BYTES / max(time.perf_counter() - started, 1e-6)


def _answers(server: str) -> bool:
    host, _, port = server.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=1.0):
            return True
    except (OSError, ValueError):
        return False


def _reachable(name: str, address: str, *, default_port: int, what: str) -> Check:
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        host, port = address, str(default_port)
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS):
            return Check(name, "ok", f"{what} answers at {host}:{port}")
    except OSError as error:
        detail = f"{what}: no answer from {host}:{port} ({error.strerror or error})"
        return Check(name, "failed", detail, "is it running, and is the address right?")
