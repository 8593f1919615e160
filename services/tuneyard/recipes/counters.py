"""Where a training stands, in numbers that go into its checkpoints."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

_MAX_POINTS = 1000


@dataclass
class LossHistory:
    """The training loss of about a thousand evenly spaced steps, however long the run."""

    points: list[tuple[int, float]] = field(default_factory=list)
    stride: int = 1

    def add(self, step: int, loss: float) -> None:
        """Keeps the point if it is a multiple of the stride; halves the points when there are too many."""
        if step % self.stride:
            return
        self.points.append((step, loss))
        if len(self.points) > _MAX_POINTS:
            self.stride *= 2
            self.points = [point for point in self.points if point[0] % self.stride == 0]


@dataclass
class Counters:
    """Where training stands, in numbers."""

    step: int = 0
    evaluated_step: int = 0
    """The step at which the model was last evaluated."""
    saved_step: int = 0
    best_value: float | None = None
    """Of the watched metric."""
    best_step: int = 0
    evaluations_since_best: int = 0
    evaluations: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    """Every evaluation's step and metrics."""
    losses: LossHistory = field(default_factory=LossHistory)
    rate_factor: float = 1.0
    """By which the spec's learning rate is multiplied: a half once the training has diverged."""

    def state_dict(self) -> dict[str, Any]:
        """Everything as plain values, which JSON and torch.save both take."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """What `state_dict` told; raises KeyError, TypeError and ValueError for anything else."""
        values = dict(state)
        losses = values.pop("losses")
        points = [(int(step), float(loss)) for step, loss in losses["points"]]
        evaluations = [(int(step), dict(metrics)) for step, metrics in values.pop("evaluations")]
        history = LossHistory(points=points, stride=losses["stride"])
        return cls(**values, evaluations=evaluations, losses=history)
