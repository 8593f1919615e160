"""A recipe that trains in turn with other programs, without the platform around it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.lockstep import Pace
from tuneyard.trainer.fake_run import FakeRun


class Enough(Exception):
    """What was to be measured has been."""


@dataclass(kw_only=True)
class PacedRun(FakeRun):
    """Trains in turn with others, and ends after the last step that is measured."""

    pace: Pace = field(init=False)
    losses: dict[int, float] = field(default_factory=dict, init=False)

    @property
    def paced_losses(self) -> dict[int, float]:
        """The losses of the steps that are measured."""
        return {step: loss for step, loss in sorted(self.losses.items()) if step <= self.pace.steps}

    def fault(self, point: str) -> None:
        super().fault(point)
        if point == "step=1":
            self.pace.begin()
        if point == f"step={self.pace.steps + 1}":
            raise Enough

    def progress(self, *, step: int, **told: Any) -> None:
        super().progress(step=step, **told)
        if step <= self.pace.steps:
            self.pace.step_done()

    def metrics(self, *, step: int, epoch: float, values: Mapping[str, float]) -> None:
        super().metrics(step=step, epoch=epoch, values=values)
        if "train/loss" in values:
            self.losses[step] = values["train/loss"]
