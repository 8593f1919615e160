"""What every benchmark is told, and how it starts other programs."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console

if TYPE_CHECKING:
    from tests.support.platform import Platform

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(__file__).parent / "peers"


@dataclass
class Kept:
    """What one benchmark started and the next ones use as well."""

    stack: ExitStack = field(default_factory=ExitStack)
    platform: "Platform | None" = None
    """Of the benchmarks that train images."""

    def close(self) -> None:
        """Stops everything."""
        self.platform = None
        self.stack.close()


@dataclass(frozen=True)
class Settings:
    """One run of the benchmarks."""

    scratch: Path
    """A folder that is gone afterwards."""
    data: Path
    """A folder for what is made once and used again by later runs."""
    console: Console
    """Where progress is told."""
    quick: bool = False
    """Fewer repetitions: to see that everything works, not to judge."""
    device: str = "cpu"
    """"cpu" or "cuda"."""
    kept: Kept = field(default_factory=Kept)

    def times(self, full: int, quick: int) -> int:
        """How often something is repeated."""
        return quick if self.quick else full

    @property
    def trainer_environment(self) -> dict[str, str]:
        """The settings of trainers, so that they take the device that is measured."""
        return {"TUNEYARD_DEVICES": "cuda:0" if self.device == "cuda" else "cpu"}

    def tell(self, text: str) -> None:
        """Tells people what is going on."""
        self.console.print(f"[dim]  {text}[/dim]", highlight=False)


def environment() -> dict[str, str]:
    """The environment of measured programs: compiled modules are kept, no setting of ours leaks in."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("TUNEYARD_")}
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)
    return inherited | {"PYTHONPATH": str(ROOT)}


def start(
    arguments: Sequence[object], *, python: str | Path = sys.executable, **options: Any
) -> subprocess.Popen[str]:
    """Starts a Python program: a path, or "-m" and a module, and its arguments."""
    return subprocess.Popen(
        [python, *map(str, arguments)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        **options,
    )


def result_of(arguments: Sequence[object], *, python: str | Path = sys.executable) -> Any:
    """Runs a Python program to its end and returns the JSON value of its last line."""
    process = start(arguments, python=python)
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{arguments[0]} {arguments[1]} ended with {process.returncode}")
    return json.loads(output.splitlines()[-1])


class Resident:
    """A program that stays, so that it imports once: a line in is a piece of work, a line out its result."""

    def __init__(self, arguments: Sequence[object]) -> None:
        self._name = arguments[0]
        self._process = start(arguments, stdin=subprocess.PIPE)

    def ask(self, value: object) -> Any:
        """Sends a JSON value and returns the JSON value of the line that answers."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._name} ended with {self._process.wait()}")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()
