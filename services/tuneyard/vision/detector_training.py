"""A detector's training under way: a step, an evaluation, a checkpoint; `detector` says when each is due.

The steps are our own and not those of ultralytics' trainer, which can neither stop nor resume within an epoch
nor repeat a step; network, loss, augmentation and metrics are ultralytics'.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tuneyard.datasets import Report
from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.last_good import LastGood
from tuneyard.trainer.oom import MicroBatching, optimizer_step
from tuneyard.trainer.run import Run
from tuneyard.vision import networks
from tuneyard.vision.advice import TrainingWatch
from tuneyard.vision.detector_advice import detector_subject
from tuneyard.vision.detector_artifacts import save_first_batch, save_predictions
from tuneyard.vision.detector_batches import DetectionSamples, Sample, SampleOrder, StepSamples, collate
from tuneyard.vision.detector_config import DetectorConfig
from tuneyard.vision.detector_evaluation import DetectionEvaluation, DetectionEvaluator
from tuneyard.vision.detector_learner import DetectorLearner, learning_rate
from tuneyard.vision.detector_loss import LOSSES, DetectorLoss
from tuneyard.vision.learner import StepStart, is_finite
from tuneyard.vision.optimization import set_learning_rate

_REPORT_SECONDS = 0.1
"""On an accelerator reading a loss waits for the device: no oftener than this."""
_SMALLEST_SPATIAL = 64
"""Below this side the last features of one image are a single value, which has no statistics."""


@dataclass(frozen=True)
class DetectorData:
    """Both splits, prepared, and ultralytics' form of the settings."""

    classes: tuple[str, ...]
    train: DetectionSamples
    validation: DetectionSamples
    settings: Any
    order: SampleOrder
    validation_batch: int
    report: Report
    """Of the training dataset."""


@dataclass(frozen=True)
class DetectorSchedule:
    """How long the training is, in optimizer steps."""

    steps_per_epoch: int
    total_steps: int

    @property
    def total_epochs(self) -> float:
        """Passes over the data."""
        return self.total_steps / self.steps_per_epoch


def make_schedule(config: DetectorConfig, samples: int) -> DetectorSchedule:
    """Each sample once an epoch: the last step of an epoch may have fewer samples than the others."""
    steps_per_epoch = math.ceil(samples / config.effective_batch_size)
    return DetectorSchedule(steps_per_epoch, config.max_steps or steps_per_epoch * (config.epochs or 1))


class Diverged(Exception):
    """The training went astray: raised by a step, an evaluation or a save that shows it."""

    def __init__(self, seen: str) -> None:
        super().__init__(seen)
        self.seen = seen


class DetectorTraining:
    """Moves a learner forward and tells the run about it."""

    def __init__(
        self,
        config: DetectorConfig,
        learner: DetectorLearner,
        data: DetectorData,
        loss: DetectorLoss,
        judging_loss: DetectorLoss,
        *,
        batching: MicroBatching,
        last_good: LastGood,
        device: torch.device,
        run: Run,
        workers: int,
    ) -> None:
        self.schedule = make_schedule(config, len(data.train))
        self.learner = learner
        self.batching = batching
        self.evaluator = DetectionEvaluator(
            data.validation, judging_loss, classes=data.classes, batch_size=data.validation_batch
        )
        self.best_evaluation: DetectionEvaluation | None = None
        """Of the best weights, where this attempt found them."""
        self._config = config
        self._data = data
        self._loss = loss
        self._device = device
        self._run = run
        self._watch = TrainingWatch(detector_subject(config, data.report), run, losses=learner.curves)
        self._last_good = last_good
        self._start = StepStart(learner.model)
        self._norms = networks.trained_norms(learner.model)
        self._epoch = -1
        self._reported_at = 0.0
        self._samples = StepSamples(
            data.train,
            data.order,
            first_step=learner.counters.step,
            total_steps=self.schedule.total_steps,
            close_mosaic_steps=config.close_mosaic_epochs * self.schedule.steps_per_epoch,
            workers=workers,
        )

    @property
    def epoch(self) -> float:
        """Passes over the data so far."""
        return self.learner.counters.step / self.schedule.steps_per_epoch

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
        if (epoch := self._data.order.epoch_of(counters.step)) != self._epoch:
            self._epoch = epoch
            self._loss.begin_epoch(epoch)
        samples = next(self._samples)
        loaded = time.perf_counter()

        def work(piece: list[Sample], _: float) -> Tensor:
            if piece[0] is samples[0]:
                self._run.fault(f"step={counters.step + 1}")
            return self._forward_backward(piece) * (len(piece) / len(samples))

        parts = self.batching.run_step(
            counters.step + 1,
            samples,
            work,
            snapshot=self._start.snapshot,
            restore=self._start.restore,
        )
        rate = learning_rate(self._config, step=counters.step, total_steps=self.schedule.total_steps)
        rate *= counters.rate_factor
        set_learning_rate(learner.optimizer, rate)
        optimizer_step(self._update)
        counters.step += 1
        self._report(parts, rate, len(samples))
        self._watch.worked(loading_seconds=loaded - started, step_seconds=time.perf_counter() - started)
        if counters.step == 1:
            save_first_batch(self._run, samples, self._data.classes)

    def _forward_backward(self, piece: list[Sample]) -> Tensor:
        """Adds a micro-batch's gradients; returns its three mean losses."""
        batch = collate(piece)
        images = self._loss.images(batch)
        alone = self._norms if len(piece) == 1 and min(images.shape[2:]) < _SMALLEST_SPATIAL else []
        with networks.fixed_statistics(alone):
            raw = self._loss.raw(self.learner.model, images)
        loss, parts = self._loss.losses(raw, batch)
        torch.autograd.backward(self.learner.scaler.scale(loss))
        return parts

    def _update(self) -> None:
        learner = self.learner
        if self._config.max_grad_norm:
            learner.scaler.unscale_(learner.optimizer)
            nn.utils.clip_grad_norm_(learner.trained, self._config.max_grad_norm)
        learner.scaler.step(learner.optimizer)
        learner.scaler.update()
        learner.optimizer.zero_grad(set_to_none=True)
        learner.average.update(learner.model)

    def _report(self, parts: Sequence[Tensor], rate: float, samples: int) -> None:
        counters, schedule = self.learner.counters, self.schedule
        self._run.progress(
            step=counters.step,
            total_steps=schedule.total_steps,
            epoch=self.epoch,
            total_epochs=schedule.total_epochs,
            unit="images",
            count=samples,
        )
        last = counters.step == schedule.total_steps or self.evaluation_due
        now = time.monotonic()
        if self._device.type != "cpu" and not last and now - self._reported_at < _REPORT_SECONDS:
            return
        self._reported_at = now
        losses = torch.stack(list(parts)).sum(0).tolist()
        loss = sum(losses)
        if not math.isfinite(loss):
            raise Diverged(
                f"the loss became {loss} at step {counters.step}, at a learning rate of {rate:.2g}"
            )
        counters.losses.add(counters.step, loss)
        values = {f"train/{name}": value for name, value in zip(LOSSES, losses, strict=True)}
        values |= {"train/loss": loss, "train/learning_rate": rate}
        self._run.metrics(step=counters.step, epoch=self.epoch, values=values)
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
        if evaluation is None:
            self.leave()
            return
        if not math.isfinite(evaluation.loss):
            raise Diverged(f"the validation loss became {evaluation.loss} at step {counters.step}")
        self._run.metrics(step=counters.step, epoch=self.epoch, values=evaluation.metrics)
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
        save_predictions(self._run, learner, self.evaluator, self._data.validation)

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
            epoch=self.epoch,
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
            "Warm up longer, and keep hyperparameters.max_grad_norm at 10 or below.",
            "Set hyperparameters.precision to fp32 where it was fp16.",
        ),
    )
