"""The course of a training, whatever is trained: when it evaluates, saves, stops, and goes back.

A recipe's training is a `Course` that knows how to make a step and an evaluation; `train_to_end` runs it.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from torch import nn

from tuneyard.recipes.checkpoint_state import is_finite
from tuneyard.recipes.counters import Counters
from tuneyard.recipes.watch import TrainingWatch
from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.last_good import LastGood
from tuneyard.trainer.oom import free_memory
from tuneyard.trainer.run import Run

_SAVE_SECONDS = 600.0
"""Where no save_steps are set, no more work than this is ever lost."""
_REPORT_SECONDS = 0.1
"""On an accelerator reading a loss waits for the device: no oftener than this."""


class CourseSettings(Protocol):
    """What the course depends on; every recipe's config has it."""

    @property
    def eval_steps(self) -> int | None:
        """None: at the end of each epoch."""
        ...

    @property
    def save_steps(self) -> int | None:
        """None: at the end of each epoch, and at least every ten minutes."""
        ...

    @property
    def patience(self) -> int:
        """Evaluations without improvement; 0 turns early stopping off."""
        ...

    @property
    def watched_metric(self) -> str: ...

    @property
    def watches_loss(self) -> bool:
        """Whether less is better of the watched metric."""
        ...

    @property
    def min_delta(self) -> float: ...

    @property
    def learning_rate(self) -> float:
        """The peak."""
        ...


class CourseLearner(Protocol):
    """All that the training changes."""

    model: nn.Module
    counters: Counters

    def keep_as_best(self) -> None:
        """Copies the weights that were just evaluated as the best so far."""
        ...

    def save(self, folder: Path) -> None:
        """Writes everything into an empty folder."""
        ...


@dataclass(frozen=True)
class Schedule:
    """How long the training is, in optimizer steps."""

    steps_per_epoch: int
    total_steps: int

    @property
    def total_epochs(self) -> float:
        """Passes over the data."""
        return self.total_steps / self.steps_per_epoch


def make_schedule(
    *, samples: int, samples_per_step: int, epochs: int | None, max_steps: int | None
) -> Schedule:
    """Each sample once an epoch: the last step of an epoch may have fewer samples than the others."""
    steps_per_epoch = math.ceil(samples / samples_per_step)
    return Schedule(steps_per_epoch, max_steps or steps_per_epoch * (epochs or 1))


class Diverged(Exception):
    """The training went astray: raised by a step, an evaluation or a save that shows it."""

    def __init__(self, seen: str) -> None:
        super().__init__(seen)
        self.seen = seen


class Course(ABC):
    """Moves a learner forward and tells the run about it."""

    last_remedies: tuple[str, ...] = (
        "Lower hyperparameters.learning_rate to a tenth.",
        "Set hyperparameters.max_grad_norm to 1, and warm up longer.",
        "Set hyperparameters.precision to fp32 where it was fp16.",
    )
    """What is left to try where half the learning rate does not help."""

    def __init__(
        self,
        settings: CourseSettings,
        learner: CourseLearner,
        schedule: Schedule,
        *,
        watch: TrainingWatch,
        last_good: LastGood,
        run: Run,
    ) -> None:
        self.schedule = schedule
        self.counters = learner.counters
        self.run = run
        self.watch = watch
        self._settings = settings
        self._learner = learner
        self._last_good = last_good
        self._reported_at = 0.0

    @abstractmethod
    def step(self) -> None:
        """Makes one optimizer step, counts it and reports it. Raises Diverged."""

    @abstractmethod
    def evaluate(self) -> None:
        """Evaluates, and hands what was measured to `judged`.

        Raises Diverged, and Stopped, after saving where that was asked for, if a stop comes before the end.
        """

    @property
    def epoch(self) -> float:
        """Passes over the data so far."""
        return self.counters.step / self.schedule.steps_per_epoch

    @property
    def stopped_early(self) -> bool:
        """Whether early stopping has had enough."""
        return 0 < self._settings.patience <= self.counters.evaluations_since_best

    @property
    def at_epoch_end(self) -> bool:
        """Whether the step just done was the last of its epoch."""
        return _divides(self.schedule.steps_per_epoch, self.counters.step)

    @property
    def evaluation_due(self) -> bool:
        """Whether the settings want an evaluation now."""
        steps = self._settings.eval_steps
        return self.at_epoch_end if steps is None else _divides(steps, self.counters.step)

    def save_due(self, seconds_since_last: float, *, longest: float = _SAVE_SECONDS) -> bool:
        """Whether the settings want a checkpoint now."""
        steps = self._settings.save_steps
        if steps is not None:
            return _divides(steps, self.counters.step)
        return self.at_epoch_end or seconds_since_last >= longest

    def run_to_end(self) -> str | None:
        """Trains to the end, evaluating and saving when it is due. Returns what shows that the training
        diverged, where it did.
        """
        counters, total_steps = self.counters, self.schedule.total_steps
        saved_at = time.monotonic()
        with self.run.stage("train"):
            try:
                while True:
                    finished = self.stopped_early or counters.step >= total_steps
                    if (finished or self.evaluation_due) and counters.evaluated_step != counters.step:
                        self.evaluate()
                        finished = finished or self.stopped_early
                    if finished:
                        return None
                    if self.save_due(time.monotonic() - saved_at) and counters.saved_step != counters.step:
                        self.save()
                        saved_at = time.monotonic()
                    self.leave()
                    self.step()
            except Diverged as diverged:
                return diverged.seen

    def progressed(self, unit: str, count: float) -> None:
        """Tells how far the run is after a step that did so many of the unit."""
        self.run.progress(
            step=self.counters.step,
            total_steps=self.schedule.total_steps,
            epoch=self.epoch,
            total_epochs=self.schedule.total_epochs,
            unit=unit,
            count=count,
        )

    def reads_loss(self, *, on_cpu: bool) -> bool:
        """Whether the loss of the step just done is to be read from the device."""
        last = self.counters.step == self.schedule.total_steps or self.evaluation_due
        now = time.monotonic()
        if not on_cpu and not last and now - self._reported_at < _REPORT_SECONDS:
            return False
        self._reported_at = now
        return True

    def lost(self, loss: float, values: Mapping[str, float], *, rate: float) -> None:
        """Reports the step's loss and what else was measured, and looks at where it is going.

        Raises Diverged.
        """
        step = self.counters.step
        if not math.isfinite(loss):
            raise Diverged(f"the loss became {loss} at step {step}, at a learning rate of {rate:.2g}")
        self.counters.losses.add(step, loss)
        told = {**values, "train/loss": loss, "train/learning_rate": rate}
        self.run.metrics(step=step, epoch=self.epoch, values=told)
        if seen := self.watch.stepped(loss):
            raise Diverged(f"by step {step} {seen}; the learning rate is {rate:.2g}")

    def judged(self, metrics: Mapping[str, float], *, loss: float) -> bool:
        """Reports an evaluation and keeps the weights if they are the best so far, which is returned.

        Raises Diverged where the loss is no number.
        """
        counters = self.counters
        if not math.isfinite(loss):
            raise Diverged(f"the validation loss became {loss} at step {counters.step}")
        self.run.metrics(step=counters.step, epoch=self.epoch, values=metrics)
        counters.evaluated_step = counters.step
        counters.evaluations.append((counters.step, dict(metrics)))
        value = metrics[self._settings.watched_metric]
        is_best = self._is_better(value)
        if is_best:
            counters.best_value, counters.best_step, counters.evaluations_since_best = value, counters.step, 0
            self._learner.keep_as_best()
        else:
            counters.evaluations_since_best += 1
        self.watch.evaluated(loss)
        return is_best

    def _is_better(self, value: float) -> bool:
        best, delta = self.counters.best_value, self._settings.min_delta
        if best is None:
            return True
        return value < best - delta if self._settings.watches_loss else value > best + delta

    def save(self, *, wait: bool = False) -> None:
        """Saves a checkpoint of the step that was just done. Raises Diverged rather than save no numbers."""
        counters = self.counters
        self.run.fault("save_checkpoint")
        if not is_finite(self._learner.model):
            raise Diverged(f"by step {counters.step} weights were infinite or no numbers")
        counters.saved_step = counters.step
        evaluated = counters.evaluated_step == counters.step and counters.evaluations
        self.run.save_checkpoint(
            step=counters.step,
            epoch=self.epoch,
            write=self._write,
            metrics=counters.evaluations[-1][1] if evaluated else {},
            best=counters.best_step == counters.step and counters.step > 0,
            wait=wait,
        )

    def _write(self, folder: Path) -> None:
        self._learner.save(folder)
        if self.watch.is_sound:
            self._last_good.keep(self.counters.step, folder)

    def rolled_back(self, seen: str, *, from_step: int) -> None:
        """Tells that this training, taken up at an earlier step, goes on with a lower learning rate."""
        counters = self.counters
        factor = counters.rate_factor
        where = f"the checkpoint of step {counters.step}" if counters.step else "the beginning"
        self.run.rolled_back(
            from_step=from_step,
            to_step=counters.step,
            learning_rate_factor=factor,
            reason=f"The training diverged ({seen}): it goes on from {where} with half the learning rate.",
        )
        self.watch.rolled_back(seen, step=counters.step, rate=self._settings.learning_rate * factor)
        try:
            self.save()
        except Diverged as worse:
            raise self.diverged_again(worse.seen) from None

    def diverged_again(self, seen: str) -> RecipeError:
        """The error of a training that half the learning rate does not help."""
        return RecipeError(
            f"The training diverged, and half the learning rate does not help: {seen}.",
            reason="DIVERGED",
            remedies=self.last_remedies,
        )

    def leave(self) -> None:
        """Ends the run if it was asked to stop: raises Stopped, after saving where the stop is a pause."""
        stop = self.run.stop_requested()
        if stop is None:
            return
        if stop is Stop.PAUSE:
            self.save(wait=True)
        raise Stopped(stop, self.counters.step)


C = TypeVar("C", bound=Course)


def train_to_end(begin: Callable[[float | None], C]) -> C:
    """Trains to the end; one that diverges goes back once, to the last good checkpoint, with half the rate.

    `begin(rate_factor)` makes the training at the last good checkpoint, or at step 0 where there is none:
    either way to the bit as it was there, but for a `rate_factor` that is not None. Raises RecipeError
    DIVERGED and Stopped.
    """
    course = begin(None)
    while (seen := course.run_to_end()) is not None:
        from_step, factor = course.counters.step, course.counters.rate_factor / 2
        if course.counters.rate_factor < 1:
            raise course.diverged_again(seen)
        # What went astray is let go of before its successor is built: both may not fit into memory.
        del course
        free_memory()
        course = begin(factor)
        course.rolled_back(seen, from_step=from_step)
    return course


def _divides(steps: int, step: int) -> bool:
    return step > 0 and step % steps == 0
