"""Which services this machine can run, and what each is told: what `up` starts and `doctor` looks at."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tuneyard.cli.supervisor import Program
from tuneyard.client.addresses import is_loopback

# What must be importable for each extra, and what its services need.
EXTRAS: Final[Mapping[str, Sequence[str]]] = {
    "gateway": ("sqlalchemy", "alembic", "aiosqlite", "structlog", "starlette", "uvicorn", "minio"),
    "web": ("starlette", "uvicorn", "websockets", "structlog"),
    "vision": ("torch", "torchvision", "safetensors"),
    "detector": ("ultralytics",),
    "diffusion": ("torch", "diffusers", "peft"),
    "llm": ("torch", "transformers", "peft"),
}
FAMILIES: Final = ("vision", "diffusion", "llm")
DEFAULT_PORTS: Final[Mapping[str, int]] = {
    "gateway": 50051,
    "blobs": 50052,
    "web": 8000,
    "vision": 50061,
    "diffusion": 50062,
    "llm": 50063,
}
LOOPBACK: Final = "127.0.0.1"
_EVERY_ADDRESS: Final = frozenset({"0.0.0.0", "::"})


@dataclass(frozen=True)
class Installation:
    """Everything that `up` was told, resolved."""

    data: Path
    store: str
    database: str
    families: Sequence[str]
    ports: Mapping[str, int]
    environment: Mapping[str, str] = field(repr=False)
    devices: str = ""
    web_host: str = LOOPBACK
    """Where the web server listens; everything else can be reached on this machine alone."""

    @property
    def gateway_address(self) -> str:
        return self.address("gateway")

    @property
    def web_url(self) -> str:
        """Where a browser finds it; "" without a web server."""
        if "web" not in self.ports:
            return ""
        shown = socket.gethostname() if self.web_host in _EVERY_ADDRESS else self.web_host
        return f"http://{_bracketed(shown)}:{self.ports['web']}"

    def address(self, service: str) -> str:
        """HOST:PORT of a service."""
        host = self.web_host if service == "web" else LOOPBACK
        return f"{_bracketed(host)}:{self.ports[service]}"

    def programs(self) -> list[Program]:
        """The gateway, a trainer per family, and the web server where it has a port."""
        shared = {
            **self.environment,
            "TUNEYARD_DATA_DIR": str(self.data),
            "TUNEYARD_STORE": self.store,
            "TUNEYARD_DATABASE": self.database,
            "TUNEYARD_BLOB_LISTEN": self.address("blobs"),
        }
        trainers = ",".join(f"{family}={self.address(family)}" for family in self.families)
        gateway = {**shared, "TUNEYARD_LISTEN": self.gateway_address, "TUNEYARD_TRAINERS": trainers}
        programs = [
            Program("gateway", "tuneyard.gateway", gateway),
            *(self._trainer(family, shared) for family in self.families),
        ]
        if "web" in self.ports:
            web = {
                **self.environment,
                "TUNEYARD_SERVER": self.gateway_address,
                "TUNEYARD_WEB_LISTEN": self.address("web"),
            }
            if not is_loopback(self.web_host):
                web.setdefault("TUNEYARD_WEB_HOSTS", socket.gethostname())
            programs.append(Program("web", "tuneyard.web", web))
        return programs

    def _trainer(self, family: str, shared: Mapping[str, str]) -> Program:
        environment = {
            **shared,
            "TUNEYARD_TRAINER_LISTEN": self.address(family),
            "TUNEYARD_TRAINER_DATA_DIR": str(self.data / "trainers" / family),
        }
        if self.devices:
            environment["TUNEYARD_DEVICES"] = self.devices
        # The gateway makes the store: a trainer that finds none warns that it is on another machine.
        return Program(family, f"tuneyard.{family}", environment, after="gateway")


def listeners(families: Sequence[str]) -> list[str]:
    """The names of what listens: the web server only where it is installed."""
    web = [] if missing_modules("web") else ["web"]
    return ["gateway", "blobs", *web, *families]


def missing_modules(extra: str) -> list[str]:
    """What an extra's installation lacks."""
    return [module for module in EXTRAS[extra] if find_spec(module) is None]


def is_served(family: str) -> bool:
    """Whether this release has a trainer for the family."""
    return find_spec(f"tuneyard.{family}") is not None and (
        find_spec(f"tuneyard.{family}.__main__") is not None
    )


def unavailable(family: str) -> str:
    """Why the family cannot be served here; "" if it can."""
    if not is_served(family):
        return f"{family}: this release has no trainer for it yet"
    if missing := missing_modules(family):
        return f"{family}: {', '.join(missing)} not installed (pip install 'tuneyard[{family}]')"
    return ""


def free_ports(services: Sequence[str]) -> dict[str, int]:
    """A free port for each service."""
    listeners = [socket.socket() for _ in services]
    try:
        for listener in listeners:
            listener.bind((LOOPBACK, 0))
        return {
            service: int(listener.getsockname()[1])
            for service, listener in zip(services, listeners, strict=True)
        }
    finally:
        for listener in listeners:
            listener.close()


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a service could listen on a port of this machine."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        # As gRPC does: a port whose last connections linger is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            return False
        return True


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
