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
from typing import Any

from tests.benchmarks.settings import start


class Pace:
    """A contender's side. Standard output is the benchmark's; warnings go elsewhere."""

    def __init__(self, *, steps: int, steps_a_turn: int, device: str) -> None:
        """`steps` are all that are trained; their number is a multiple of those of a turn."""
        self.steps = steps
        self._steps_a_turn = steps_a_turn
        self._device = device
        self._done = 0
        self._began = self._cpu_began = 0.0

    def begin(self) -> None:
        """Everything is prepared: the first step begins when this returns."""
        self._tell({})
        self._wait()

    def step_done(self) -> None:
        """One optimizer step more; returns when it is this contender's turn again."""
        self._done += 1
        if self._done % self._steps_a_turn:
            return
        if self._device != "cpu":
            import torch

            torch.cuda.synchronize()
        cpu_seconds = time.process_time() - self._cpu_began
        self._tell({"seconds": time.perf_counter() - self._began, "cpu_seconds": cpu_seconds})
        if self._done < self.steps:
            self._wait()

    def end(self, losses: Mapping[int, float]) -> None:
        """The losses by their steps, counted from 1."""
        self._tell({"losses": losses})

    def _tell(self, value: Mapping[str, Any]) -> None:
        sys.stdout.write(json.dumps(value) + "\n")
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


def run_in_turn(programs: Mapping[str, Sequence[object]], *, turns: int) -> dict[str, Trained]:
    """Runs the programs, whose arguments these are, so many turns each. Raises RuntimeError if one fails."""
    running = {name: start(arguments, stdin=subprocess.PIPE) for name, arguments in programs.items()}
    turned: dict[str, list[Any]] = {name: [] for name in programs}
    try:
        for name, process in running.items():
            _answer(name, process)
        for turn in range(turns):
            # Whoever follows whom changes: what one leaves in the caches is another's in the next turn.
            names = list(programs)
            shift = turn % len(names)
            for name in names[shift:] + names[:shift]:
                _go(running[name])
                turned[name].append(_answer(name, running[name]))
        losses = {name: _answer(name, process)["losses"] for name, process in running.items()}
    finally:
        for process in running.values():
            process.kill()
            process.communicate()
    return {
        name: Trained(
            seconds=[each["seconds"] for each in turned[name]],
            cpu_seconds=[each["cpu_seconds"] for each in turned[name]],
            losses={int(step): loss for step, loss in losses[name].items()},
        )
        for name in programs
    }


def _go(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def _answer(name: str, process: "subprocess.Popen[str]") -> Any:
    assert process.stdout is not None
    while line := process.stdout.readline():
        # Libraries print a word now and then.
        if line.startswith("{"):
            return json.loads(line)
    raise RuntimeError(f"{name} ended with {process.wait()}")
