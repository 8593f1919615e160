"""A detector's training under way: a step and an evaluation; when each is due is the course's to say.

The steps are our own and not those of ultralytics' trainer, which can neither stop nor resume within an epoch
nor repeat a step; network, loss, augmentation and metrics are ultralytics'.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tuneyard.datasets import Report
from tuneyard.recipes.course import Course, Schedule, make_schedule
from tuneyard.recipes.optimization import learning_rate, set_learning_rate
from tuneyard.recipes.random_states import StepStart
from tuneyard.recipes.watch import TrainingWatch
from tuneyard.trainer.last_good import LastGood
from tuneyard.trainer.oom import MicroBatching, optimizer_step
from tuneyard.trainer.run import Run
from tuneyard.vision import networks
from tuneyard.vision.detector_advice import detector_subject
from tuneyard.vision.detector_artifacts import save_first_batch, save_predictions
from tuneyard.vision.detector_batches import DetectionSamples, Sample, SampleOrder, StepSamples, collate
from tuneyard.vision.detector_config import DetectorConfig
from tuneyard.vision.detector_evaluation import DetectionEvaluation, DetectionEvaluator
from tuneyard.vision.detector_learner import DetectorLearner
from tuneyard.vision.detector_loss import LOSSES, DetectorLoss

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
    held_out: str
    """Which images validate: the digest of their split."""


def detector_schedule(config: DetectorConfig, samples: int) -> Schedule:
    """How long the training is."""
    return make_schedule(
        samples=samples,
        samples_per_step=config.effective_batch_size,
        epochs=config.epochs,
        max_steps=config.max_steps,
    )


class DetectorTraining(Course):
    """A detector's course."""

    last_remedies = (
        "Lower hyperparameters.learning_rate to a tenth.",
        "Warm up longer, and keep hyperparameters.max_grad_norm at 10 or below.",
        "Set hyperparameters.precision to fp32 where it was fp16.",
    )

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
        schedule = detector_schedule(config, len(data.train))
        watch = TrainingWatch(detector_subject(config, data.report), run, losses=learner.curves)
        super().__init__(config, learner, schedule, watch=watch, last_good=last_good, run=run)
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
        self._start = StepStart(learner.model)
        self._norms = networks.trained_norms(learner.model)
        self._epoch = -1
        self._samples = StepSamples(
            data.train,
            data.order,
            first_step=learner.counters.step,
            total_steps=self.schedule.total_steps,
            close_mosaic_steps=config.close_mosaic_epochs * self.schedule.steps_per_epoch,
            workers=workers,
        )

    def step(self) -> None:
        """Makes one optimizer step and reports it. Raises Diverged."""
        started = time.perf_counter()
        learner, counters = self.learner, self.counters
        if (epoch := self._data.order.epoch_of(counters.step)) != self._epoch:
            self._epoch = epoch
            self._loss.begin_epoch(epoch)
        samples = next(self._samples)
        loaded = time.perf_counter()

        def work(piece: list[Sample], _: float) -> Tensor:
            if piece[0] is samples[0]:
                self.run.fault(f"step={counters.step + 1}")
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
        self.watch.worked(loading_seconds=loaded - started, step_seconds=time.perf_counter() - started)
        if counters.step == 1:
            save_first_batch(self.run, samples, self._data.classes)

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
        self.progressed("images", samples)
        if self.reads_loss(on_cpu=self._device.type == "cpu"):
            losses = torch.stack(list(parts)).sum(0).tolist()
            values = {f"train/{name}": value for name, value in zip(LOSSES, losses, strict=True)}
            self.lost(sum(losses), values, rate=rate)

    def evaluate(self) -> None:
        """Evaluates, keeps the weights if they are the best so far, and shows predictions."""
        self.run.fault("evaluate")
        with self.run.stage("evaluate"):
            evaluation = self.evaluator.evaluate(
                self.learner.evaluated_model, should_stop=lambda: self.run.stop_requested() is not None
            )
        if evaluation is None:
            self.leave()
            return
        if self.judged(evaluation.metrics, loss=evaluation.loss):
            self.best_evaluation = evaluation
        save_predictions(self.run, self.learner, self.evaluator, self._data.validation)
