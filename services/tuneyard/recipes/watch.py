"""The guide's troubleshooting made live: follows losses and evaluations, and tells what to change.

What the numbers mean is judged by `trainer.curves`; here it becomes advice with the settings of the task at
hand, which the recipe names in its `Subject`. It changes nothing itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from tuneyard.datasets import Report, Severity
from tuneyard.datasets.codes import ADVICE
from tuneyard.trainer import curves
from tuneyard.trainer.curves import Cause, Curves, Stall
from tuneyard.trainer.run import AdviceKind, Run

_NAMED_CODES = 3


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a training's advice depends on, whatever its task. Changes are new settings by field path."""

    learning_rate: float
    usual_learning_rate: float
    """The recommended one for the optimizer in use."""
    chance_loss: float | None = None
    """The loss of guessing, where it is known."""
    least_start_loss: float = 0.0
    """A lower loss at the start counts as this one; see `curves.divergence`."""
    report: Report
    """Of the training dataset."""
    shown_in: str
    """The artifact that shows what the model saw first, and how: "samples/first-batch.png shows …"."""
    overfitting_remedies: tuple[str, ...]
    overfitting_changes: Mapping[str, object]
    starved_remedies: tuple[str, ...] = ()
    starved_changes: Mapping[str, object] = field(default_factory=dict)
    diverging_remedies: tuple[str, ...]


class TrainingWatch:
    """Follows losses and evaluations, and advises. Each kind is told once a job: `Curves` remembers.

    A recipe calls `stepped` with every training loss that it reads, `evaluated` with every validation loss,
    and `worked` with the seconds of its steps.
    """

    def __init__(self, subject: Subject, run: Run, *, losses: Curves) -> None:
        """`losses` belongs to the recipe, which saves it with its checkpoints."""
        self._subject = subject
        self._run = run
        self._losses = losses
        self._steps = 0
        self._loading_seconds = self._step_seconds = 0.0

    def worked(self, *, loading_seconds: float, step_seconds: float) -> None:
        """A step took so long, of which so long went into preparing its data."""
        self._steps += 1
        self._loading_seconds += loading_seconds
        self._step_seconds += step_seconds

    def stepped(self, loss: float) -> str | None:
        """A step's finite loss was read. Returns what shows that the training diverges, if it does."""
        self._losses.add(loss)
        subject = self._subject
        return curves.divergence(
            self._losses, chance=subject.chance_loss or 0.0, least_start=subject.least_start_loss
        )

    @property
    def is_sound(self) -> bool:
        """Whether a checkpoint made now is worth going back to."""
        subject = self._subject
        return curves.is_sound(
            self._losses, chance=subject.chance_loss or 0.0, least_start=subject.least_start_loss
        )

    def evaluated(self, loss: float) -> None:
        """The model was evaluated, with a finite loss."""
        losses, subject = self._losses, self._subject
        losses.evaluated(loss)
        if seen := curves.overfitting(losses.evaluations):
            self._advise(
                AdviceKind.OVERFITTING, seen, subject.overfitting_remedies, subject.overfitting_changes
            )
        found = curves.stall(
            losses,
            rate=subject.learning_rate,
            usual_rate=subject.usual_learning_rate,
            chance=subject.chance_loss,
            least_start=subject.least_start_loss,
        )
        if found:
            self._advise_on_stall(found)
        if seen := curves.starvation(
            loading_seconds=self._loading_seconds, step_seconds=self._step_seconds, steps=self._steps
        ):
            self._advise(AdviceKind.DATA_STARVED, seen, subject.starved_remedies, subject.starved_changes)

    def rolled_back(self, seen: str, *, step: int, rate: float) -> None:
        """The training diverged and goes on from `step` with `rate` as its peak learning rate."""
        where = f"the checkpoint of step {step}" if step else "the beginning"
        self._advise(
            AdviceKind.DIVERGING,
            f"{seen[0].upper()}{seen[1:]}. The run went back to {where}, and goes on with half the learning"
            " rate.",
            self._subject.diverging_remedies,
            {"hyperparameters.learning_rate": rate},
        )

    def _advise_on_stall(self, found: Stall) -> None:
        """The remedy for the cause that the curve speaks for, then the guide's others in its order."""
        rate, usual = self._subject.learning_rate, self._subject.usual_learning_rate
        remedies = {
            Cause.RATE_TOO_LOW: ("Raise the learning rate.",),
            Cause.RATE_TOO_HIGH: ("Lower the learning rate.",),
            Cause.DATA: (
                f"Clean the dataset: {self._findings()}",
                f"Check what the model sees: {self._subject.shown_in}.",
            ),
        }
        changes = {
            Cause.RATE_TOO_LOW: {"hyperparameters.learning_rate": max(rate * 3, usual)},
            Cause.RATE_TOO_HIGH: {"hyperparameters.learning_rate": min(rate / 3, usual)},
        }
        others = (remedy for cause, told in remedies.items() if cause is not found.cause for remedy in told)
        self._advise(
            AdviceKind.NOT_DECREASING,
            found.observation,
            (*remedies[found.cause], *(f"If that does not help: {other}" for other in others)),
            changes.get(found.cause, {}),
        )

    def _findings(self) -> str:
        """Where the dataset's findings are, and how many they are."""
        dataset = self._run.manifest()["dataset"] or {}
        name = dataset.get("name") or "NAME"
        counts = self._subject.report.counts
        serious = {
            code.value: counts[code.value]
            for code, advice in ADVICE.items()
            if counts.get(code.value) and advice.severity is not Severity.INFO
        }
        if not serious:
            return f"its check found nothing wrong, so look at the labels (`tuneyard datasets show {name}`)."
        most = sorted(serious, key=lambda code: -serious[code])[:_NAMED_CODES]
        told = ", ".join(f"{serious[code]} of {code}" for code in most)
        return f"`tuneyard datasets show {name}` lists {sum(serious.values())} findings ({told})."

    def _advise(
        self, kind: AdviceKind, seen: str, remedies: tuple[str, ...], changes: Mapping[str, object]
    ) -> None:
        if kind.value not in self._losses.told:
            self._losses.told.append(kind.value)
            self._run.advise(kind, observation=seen, remedies=remedies, changes=changes)


def advise_on_speed(precision: str, run: Run, device: torch.device) -> None:
    """What can be said of the device, and of the precision asked for, before the first step."""
    if device.type == "cpu" and run.accelerators:
        run.advise(
            AdviceKind.SLOW_TRAINING,
            observation=f"The run is on the processor although the trainer has {run.accelerators[0]}.",
            remedies=("Leave resources.force_cpu unset.",),
            changes={"resources.force_cpu": False},
        )
    # On a processor bf16 is slower for many a network, and what is faster is measured before a run.
    if precision == "fp32" and device.type == "cuda" and torch.cuda.is_bf16_supported():
        run.advise(
            AdviceKind.SLOW_TRAINING,
            observation="The run computes in fp32 on a device that is much faster in bf16.",
            remedies=("Set precision to auto.",),
            changes={"hyperparameters.precision": "PRECISION_AUTO"},
        )
