"""Programs that train in turn, a few steps each, so that all of them meet the machine in the same state.

A contender makes a `Pace` and tells it when its first step begins and when each step ends; `run_in_turn` is
the side of the benchmark. In between a contender waits, and computes nothing.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.benchmarks.settings import start

_RECORD = "\x1e"
"""Begins a line between the two sides, as in RFC 7464: libraries print lines of their own."""


class Pace:
    """A contender's side. Standard output is the benchmark's; warnings go elsewhere."""

    def __init__(self, *, steps: int, steps_a_turn: int, device: str) -> None:
        """`steps` are all that are trained; their number is a multiple of those of a turn."""
        self.steps = steps
        self._steps_a_turn = steps_a_turn
        self._device = device
        self.done = 0
        """Steps so far."""
        self._began = self._cpu_began = 0.0

    def begin(self) -> None:
        """Everything is prepared: the first step begins when this returns."""
        self._tell({})
        self._wait()

    def step_done(self) -> None:
        """One optimizer step more; returns when it is this contender's turn again."""
        self.done += 1
        if self.done % self._steps_a_turn:
            return
        if self._device != "cpu":
            import torch

            torch.cuda.synchronize()
        cpu_seconds = time.process_time() - self._cpu_began
        last = self.done >= self.steps
        seconds = time.perf_counter() - self._began
        self._tell({"seconds": seconds, "cpu_seconds": cpu_seconds, "last": last})
        if not last:
            self._wait()

    def end(self, losses: Mapping[int, float], **noted: float) -> None:
        """The losses by their steps, counted from 1, and what else is to be known."""
        self._tell({"losses": losses, "noted": noted})

    def _tell(self, value: Mapping[str, Any]) -> None:
        sys.stdout.write(f"{_RECORD}{json.dumps(value)}\n")
        sys.stdout.flush()

    def _wait(self) -> None:
        if not sys.stdin.readline():
            raise SystemExit("the benchmark has gone")
        self._began, self._cpu_began = time.perf_counter(), time.process_time()


@dataclass(frozen=True)
class Trained:
    """What a contender did."""

    seconds: Sequence[float]
    """Of each turn."""
    cpu_seconds: Sequence[float]
    """Of each turn, over all threads: what does not grow where other programs compute too."""
    losses: Mapping[int, float]
    noted: Mapping[str, float]
    """What else the contender had to tell at its end."""


def run_in_turn(
    programs: Mapping[str, Sequence[object]], *, pythons: Mapping[str, str | Path] = MappingProxyType({})
) -> dict[str, Trained]:
    """Runs the programs, whose arguments these are, each in its Python or this one, until all have ended.

    Raises RuntimeError if one fails.
    """
    running = {
        name: start(arguments, python=pythons.get(name, sys.executable), stdin=subprocess.PIPE)
        for name, arguments in programs.items()
    }
    turned: dict[str, list[Any]] = {name: [] for name in programs}
    ends: dict[str, Any] = {}
    try:
        for name, process in running.items():
            _answer(name, process)
        while names := [name for name in programs if name not in ends]:
            # Whoever follows whom changes: what one leaves in the caches is another's in the next turn.
            shift = max(map(len, turned.values())) % len(names)
            for name in names[shift:] + names[:shift]:
                _go(running[name])
                turned[name].append(_answer(name, running[name]))
                if turned[name][-1]["last"]:
                    ends[name] = _answer(name, running[name])
    finally:
        for process in running.values():
            process.kill()
            process.communicate()
    return {
        name: Trained(
            seconds=[each["seconds"] for each in turned[name]],
            cpu_seconds=[each["cpu_seconds"] for each in turned[name]],
            losses={int(step): loss for step, loss in ends[name]["losses"].items()},
            noted=ends[name]["noted"],
        )
        for name in programs
    }


def largest_difference(ours: Mapping[int, float], others: Mapping[int, float]) -> float:
    """The largest relative difference between two programs' losses of one step."""
    steps = ours.keys() & others.keys()
    return max(abs(ours[step] - others[step]) / others[step] for step in steps)


def _go(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def _answer(name: str, process: "subprocess.Popen[str]") -> Any:
    assert process.stdout is not None
    while line := process.stdout.readline():
        if line.startswith(_RECORD):
            return json.loads(line.removeprefix(_RECORD))
    raise RuntimeError(f"{name} ended with {process.wait()}")
