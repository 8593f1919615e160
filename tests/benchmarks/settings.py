"""What every benchmark is told, and how it starts other programs."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(__file__).parent / "peers"


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
