"""Generates clients/go/tuneyardv1 from the protos, with the plugins that clients/go/tools.mod pins.

The machine's Go builds them once, into its own cache. Nothing here knows which protos there are.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

MODULE: Final = Path(__file__).resolve().parent.parent / "clients" / "go"
PACKAGE: Final = "tuneyardv1"
GENERATED: Final = MODULE / PACKAGE
PLUGINS: Final = ("protoc-gen-go", "protoc-gen-go-grpc")
PROTOS: Final = MODULE.parent.parent / "protos"


class GoUnavailable(Exception):
    """This machine cannot generate code for Go; the message says why."""


class Protoc(Protocol):
    """Runs protoc on the protos below a folder."""

    def __call__(self, root: Path, *arguments: str) -> None: ...


def environment() -> dict[str, str]:
    """The caller's environment, less what would change the target, download another toolchain or ask git."""
    kept = {name: value for name, value in os.environ.items() if name not in ("GOOS", "GOARCH")}
    fixed = {"GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
    return {**kept, **fixed}


def check_go() -> None:
    """Raises GoUnavailable unless the machine has a Go that is new enough for the module."""
    if shutil.which("go") is None:
        raise GoUnavailable("there is no `go` on the PATH")
    answer, oldest = _go("version").stdout.strip(), _mod("go")
    found = re.search(r"go(\d+\.\d+)", answer)
    if found is None or _version(found[1]) < _version(oldest):
        raise GoUnavailable(f"clients/go needs Go {oldest} or newer, and `go version` says {answer!r}")


def generate(destination: Path, files: Sequence[str], *, protoc: Protoc) -> Path:
    """Writes the package's code below `destination` and returns its folder. Raises GoUnavailable."""
    check_go()
    module = _mod("module")
    # Where each proto's code goes is said here: the protos themselves know no language.
    packages = [f"M{Path(file).relative_to(PROTOS)}={module}/{PACKAGE}" for file in files]
    options = ",".join([f"module={module}", *packages])
    plugins = [f"--plugin={name}={_plugin(name)}" for name in PLUGINS]
    out = [f"--go_out={options}:{destination}", f"--go-grpc_out={options}:{destination}"]
    protoc(PROTOS, *plugins, *out, *files)
    return destination / PACKAGE


def _plugin(name: str) -> str:
    answer = _go("tool", "-modfile=tools.mod", "-n", name)
    if answer.returncode != 0:
        raise GoUnavailable(f"{name} could not be built: {answer.stderr.strip()[-500:]}")
    return answer.stdout.strip()


def _go(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = ["go", *arguments]
    return subprocess.run(command, cwd=MODULE, env=environment(), check=False, capture_output=True, text=True)


def _mod(directive: str) -> str:
    """What go.mod says after a word of its own, such as its module's path."""
    for line in (MODULE / "go.mod").read_text().splitlines():
        if line.startswith(f"{directive} "):
            return line.removeprefix(directive).strip()
    raise AssertionError(f"{MODULE / 'go.mod'} has no line {directive!r}")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2])
