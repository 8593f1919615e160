"""A training under way: a step, an evaluation, a checkpoint; `classifier` says when each is due."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from tuneyard.datasets import Report
from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.last_good import LastGood
from tuneyard.trainer.oom import MicroBatching, optimizer_step
from tuneyard.trainer.run import Run
from tuneyard.vision import networks
from tuneyard.vision.advice import TrainingWatch, classifier_subject
from tuneyard.vision.artifacts import save_first_batch, save_predictions
from tuneyard.vision.batches import StepPlan, partners
from tuneyard.vision.config import ClassifierConfig
from tuneyard.vision.evaluation import Evaluation, Evaluator
from tuneyard.vision.learner import Learner, StepStart, is_finite
from tuneyard.vision.optimization import class_weights, learning_rate, set_learning_rate
from tuneyard.vision.pixels import Pixels
from tuneyard.vision.precision import autocast
from tuneyard.vision.splits import Splits

_REPORT_SECONDS = 0.1
"""On an accelerator reading a loss waits for the device: no oftener than this."""


@dataclass(frozen=True)
class Data:
    """Both splits as pixels."""

    splits: Splits
    train: Pixels
    validation: Pixels
    report: Report
    """Of the training dataset."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, in the order of their numbers."""
        return self.splits.classes

    @property
    def class_counts(self) -> list[int]:
        """Training images of each class."""
        return torch.bincount(self.train.labels, minlength=len(self.classes)).tolist()


@dataclass(frozen=True)
class Schedule:
    """How long the training is, in optimizer steps."""

    steps_per_epoch: int
    total_steps: int

    @property
    def total_epochs(self) -> float:
        """Passes over the data."""
        return self.total_steps / self.steps_per_epoch


def make_schedule(config: ClassifierConfig, samples: int) -> Schedule:
    """Each sample once an epoch: the last step of an epoch may have fewer samples than the others."""
    steps_per_epoch = math.ceil(samples / config.effective_batch_size)
    return Schedule(steps_per_epoch, config.max_steps or steps_per_epoch * (config.epochs or 1))


class Diverged(Exception):
    """The training went astray: raised by a step, an evaluation or a save that shows it."""

    def __init__(self, seen: str) -> None:
        super().__init__(seen)
        self.seen = seen


class Training:
    """Moves a learner forward and tells the run about it."""

    def __init__(
        self,
        config: ClassifierConfig,
        learner: Learner,
        data: Data,
        *,
        batching: MicroBatching,
        last_good: LastGood,
        device: torch.device,
        run: Run,
    ) -> None:
        self.schedule = make_schedule(config, len(data.train))
        self.learner = learner
        self.batching = batching
        self.evaluator = Evaluator(
            data.validation,
            learner.augmenter,
            classes=len(data.classes),
            batch_size=max(config.batch_size, 32),
            precision=learner.precision,
            device=device,
        )
        self.best_evaluation: Evaluation | None = None
        """Of the best weights, where this attempt found them."""
        self._config = config
        self._data = data
        self._device = device
        self._run = run
        subject = classifier_subject(config, data.report, classes=len(data.classes))
        self._watch = TrainingWatch(subject, run, losses=learner.curves)
        self._last_good = last_good
        self._loading_seconds = 0.0
        self._start = StepStart(learner.model)
        self._trained = [parameter for parameter in learner.model.parameters() if parameter.requires_grad]
        self._weights = class_weights(config, data.classes, data.class_counts)
        self._reported_at = 0.0
        self._first_images: Tensor | None = None

    @property
    def stopped_early(self) -> bool:
        """Whether early stopping has had enough."""
        patience = self._config.patience
        return 0 < patience <= self.learner.counters.evaluations_since_best

    @property
    def at_epoch_end(self) -> bool:
        """Whether the step just done was the last of its epoch."""
        return _divides(self.schedule.steps_per_epoch, self.learner.counters.step)

    @property
    def evaluation_due(self) -> bool:
        """Whether the settings want an evaluation now."""
        steps = self._config.eval_steps
        return self.at_epoch_end if steps is None else _divides(steps, self.learner.counters.step)

    def save_due(self, seconds_since_last: float, *, longest: float) -> bool:
        """Whether the settings want a checkpoint now."""
        steps = self._config.save_steps
        if steps is not None:
            return _divides(steps, self.learner.counters.step)
        return self.at_epoch_end or seconds_since_last >= longest

    def step(self) -> None:
        """Makes one optimizer step and reports it. Raises Diverged."""
        started = time.perf_counter()
        learner, counters = self.learner, self.learner.counters
        plan = learner.augmenter.plan(learner.order.take(self.batching.samples_per_step))
        labels = self._data.train.labels[plan.positions]
        # Sums over micro-batches, over this, add up to the mean over the step however it is cut.
        total = float(len(labels)) if self._weights is None else float(self._weights[labels].sum())

        def work(members: Tensor, _: float) -> Tensor:
            if members[0] == 0:
                self._run.fault(f"step={counters.step + 1}")
            loss = self._loss(plan, labels, members) / total
            torch.autograd.backward(learner.scaler.scale(loss))
            return loss.detach()

        losses = self.batching.run_step(
            counters.step + 1,
            torch.arange(len(plan)),
            work,
            snapshot=self._start.snapshot,
            restore=self._start.restore,
        )
        rate = learning_rate(self._config, step=counters.step, total_steps=self.schedule.total_steps)
        rate *= counters.rate_factor
        set_learning_rate(learner.optimizer, rate)
        optimizer_step(self._update)
        counters.step += 1
        self._report(losses, rate, len(plan))
        self._watch.worked(loading_seconds=self._loading_seconds, step_seconds=time.perf_counter() - started)
        self._loading_seconds = 0.0
        if self._first_images is not None:
            save_first_batch(self._run, learner, self._first_images, labels, self._data.classes)
            self._first_images = None

    def _loss(self, plan: StepPlan, labels: Tensor, members: Tensor) -> Tensor:
        """The loss of a micro-batch, summed over its samples."""
        started = time.perf_counter()
        images, share = self.learner.augmenter.images(self._data.train, plan, members)
        self._loading_seconds += time.perf_counter() - started
        if self.learner.counters.step == 0 and members[0] == 0:
            self._first_images = images.detach().clone()
        logits = self._forward(images)
        loss = self._summed(logits, labels[members]) * share
        if share < 1:
            loss = loss + self._summed(logits, labels[partners(plan, members)]) * (1 - share)
        return loss

    def _forward(self, images: Tensor) -> Tensor:
        model = self.learner.model
        alone = networks.trained_norms(model) if len(images) == 1 else []
        with autocast(self.learner.precision, self._device), networks.fixed_statistics(alone):
            logits: Tensor = model(images)
        return logits.float()

    def _summed(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(
            logits,
            labels.to(self._device),
            weight=None if self._weights is None else self._weights.to(self._device),
            label_smoothing=self._config.label_smoothing,
            reduction="sum",
        )

    def _update(self) -> None:
        learner = self.learner
        if self._config.max_grad_norm:
            learner.scaler.unscale_(learner.optimizer)
            nn.utils.clip_grad_norm_(self._trained, self._config.max_grad_norm)
        learner.scaler.step(learner.optimizer)
        learner.scaler.update()
        learner.optimizer.zero_grad(set_to_none=True)
        if learner.average:
            learner.average.update(learner.model)

    def _report(self, losses: Sequence[Tensor], rate: float, samples: int) -> None:
        counters, schedule = self.learner.counters, self.schedule
        epoch = self.learner.order.epoch
        self._run.progress(
            step=counters.step,
            total_steps=schedule.total_steps,
            epoch=epoch,
            total_epochs=schedule.total_epochs,
            unit="images",
            count=samples,
        )
        last = counters.step == schedule.total_steps or self.evaluation_due
        now = time.monotonic()
        if self._device.type != "cpu" and not last and now - self._reported_at < _REPORT_SECONDS:
            return
        self._reported_at = now
        loss = torch.stack(list(losses)).sum().item()
        if not math.isfinite(loss):
            raise Diverged(
                f"the loss became {loss} at step {counters.step}, at a learning rate of {rate:.2g}"
            )
        counters.losses.add(counters.step, loss)
        values = {"train/loss": loss, "train/learning_rate": rate}
        self._run.metrics(step=counters.step, epoch=epoch, values=values)
        if seen := self._watch.stepped(loss):
            raise Diverged(f"by step {counters.step} {seen}; the learning rate is {rate:.2g}")

    def evaluate(self) -> None:
        """Evaluates, keeps the weights if they are the best so far, and shows predictions.

        Raises Diverged, and Stopped, after saving where that was asked for, if a stop comes before the end.
        """
        learner, counters = self.learner, self.learner.counters
        self._run.fault("evaluate")
        with self._run.stage("evaluate"):
            evaluation = self.evaluator.evaluate(
                learner.evaluated_model, should_stop=lambda: self._run.stop_requested() is not None
            )
        networks.set_training(learner.model, frozen_backbone=self._config.freeze_backbone)
        if evaluation is None:
            self.leave()
            return
        if not math.isfinite(evaluation.loss):
            raise Diverged(f"the validation loss became {evaluation.loss} at step {counters.step}")
        self._run.metrics(step=counters.step, epoch=learner.order.epoch, values=evaluation.metrics)
        counters.evaluated_step = counters.step
        counters.evaluations.append((counters.step, evaluation.metrics))
        value = evaluation.metrics[self._config.watched_metric]
        if self._is_better(value):
            counters.best_value, counters.best_step, counters.evaluations_since_best = value, counters.step, 0
            learner.keep_as_best()
            self.best_evaluation = evaluation
        else:
            counters.evaluations_since_best += 1
        self._watch.evaluated(evaluation.loss)
        save_predictions(self._run, learner, self.evaluator, self._data.validation, self._data.classes)
        networks.set_training(learner.model, frozen_backbone=self._config.freeze_backbone)

    def _is_better(self, value: float) -> bool:
        best, delta = self.learner.counters.best_value, self._config.min_delta
        if best is None:
            return True
        return value < best - delta if self._config.watches_loss else value > best + delta

    def save(self, *, wait: bool = False) -> None:
        """Saves a checkpoint of the step that was just done. Raises Diverged rather than save no numbers."""
        counters = self.learner.counters
        self._run.fault("save_checkpoint")
        if not is_finite(self.learner.model):
            raise Diverged(f"by step {counters.step} weights were infinite or no numbers")
        counters.saved_step = counters.step
        evaluated = counters.evaluated_step == counters.step and counters.evaluations
        self._run.save_checkpoint(
            step=counters.step,
            epoch=self.learner.order.epoch,
            write=self._write,
            metrics=counters.evaluations[-1][1] if evaluated else {},
            best=counters.best_step == counters.step and counters.step > 0,
            wait=wait,
        )

    def _write(self, folder: Path) -> None:
        self.learner.save(folder)
        if self._watch.is_sound:
            self._last_good.keep(self.learner.counters.step, folder)

    def rolled_back(self, seen: str, *, from_step: int) -> None:
        """Tells that this training, taken up at an earlier step, goes on with a lower learning rate."""
        counters = self.learner.counters
        factor = counters.rate_factor
        where = f"the checkpoint of step {counters.step}" if counters.step else "the beginning"
        self._run.rolled_back(
            from_step=from_step,
            to_step=counters.step,
            learning_rate_factor=factor,
            reason=f"The training diverged ({seen}): it goes on from {where} with half the learning rate.",
        )
        self._watch.rolled_back(seen, step=counters.step, rate=self._config.learning_rate * factor)
        try:
            self.save()
        except Diverged as worse:
            raise diverged_again(worse.seen) from None

    def leave(self) -> None:
        """Ends the run if it was asked to stop: raises Stopped, after saving where the stop is a pause."""
        stop = self._run.stop_requested()
        if stop is None:
            return
        if stop is Stop.PAUSE:
            self.save(wait=True)
        raise Stopped(stop, self.learner.counters.step)


def _divides(steps: int, step: int) -> bool:
    return step > 0 and step % steps == 0


def diverged_again(seen: str) -> RecipeError:
    """The error of a training that half the learning rate does not help."""
    return RecipeError(
        f"The training diverged, and half the learning rate does not help: {seen}.",
        reason="DIVERGED",
        remedies=(
            "Lower hyperparameters.learning_rate to a tenth.",
            "Set hyperparameters.max_grad_norm to 1, and warm up longer.",
            "Set hyperparameters.precision to fp32 where it was fp16.",
        ),
    )
