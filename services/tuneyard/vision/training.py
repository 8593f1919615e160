"""A classifier's training under way: a step and an evaluation; when each is due is the course's to say."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tuneyard.datasets import Report
from tuneyard.recipes.course import Course, make_schedule
from tuneyard.recipes.optimization import clipped_step, learning_rate, set_learning_rate
from tuneyard.recipes.precision import autocast
from tuneyard.recipes.random_states import StepStart
from tuneyard.recipes.watch import TrainingWatch
from tuneyard.trainer.last_good import LastGood
from tuneyard.trainer.oom import MicroBatching, optimizer_step
from tuneyard.trainer.run import Run
from tuneyard.vision import networks
from tuneyard.vision.advice import classifier_subject
from tuneyard.vision.artifacts import save_first_batch, save_predictions
from tuneyard.vision.batches import StepPlan, partners
from tuneyard.vision.config import ClassifierConfig
from tuneyard.vision.evaluation import Evaluation, Evaluator
from tuneyard.vision.learner import Learner
from tuneyard.vision.optimization import class_weights
from tuneyard.vision.pixels import Pixels
from tuneyard.vision.splits import Splits


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


class Training(Course):
    """A classifier's course."""

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
        schedule = make_schedule(
            samples=len(data.train),
            samples_per_step=config.effective_batch_size,
            epochs=config.epochs,
            max_steps=config.max_steps,
        )
        subject = classifier_subject(config, data.report, classes=len(data.classes))
        watch = TrainingWatch(subject, run, losses=learner.curves)
        super().__init__(config, learner, schedule, watch=watch, last_good=last_good, run=run)
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
        self._loading_seconds = 0.0
        self._start = StepStart(learner.model)
        self._trained = [parameter for parameter in learner.model.parameters() if parameter.requires_grad]
        self._weights = class_weights(config, data.classes, data.class_counts)
        self._first_images: Tensor | None = None

    @property
    def epoch(self) -> float:
        """Passes over the data so far."""
        return self.learner.order.epoch

    def step(self) -> None:
        """Makes one optimizer step and reports it. Raises Diverged."""
        started = time.perf_counter()
        learner, counters = self.learner, self.counters
        plan = learner.augmenter.plan(learner.order.take(self.batching.samples_per_step))
        labels = self._data.train.labels[plan.positions]
        # Sums over micro-batches, over this, add up to the mean over the step however it is cut.
        total = float(len(labels)) if self._weights is None else float(self._weights[labels].sum())

        def work(members: Tensor, _: float) -> Tensor:
            if members[0] == 0:
                self.run.fault(f"step={counters.step + 1}")
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
        self.watch.worked(loading_seconds=self._loading_seconds, step_seconds=time.perf_counter() - started)
        self._loading_seconds = 0.0
        if self._first_images is not None:
            save_first_batch(self.run, learner, self._first_images, labels, self._data.classes)
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
        learner, max_norm = self.learner, self._config.max_grad_norm
        if max_norm and not learner.scaler.is_enabled():
            clipped_step(learner.optimizer, self._trained, max_norm=max_norm)
        else:
            if max_norm:
                learner.scaler.unscale_(learner.optimizer)
                nn.utils.clip_grad_norm_(self._trained, max_norm)
            learner.scaler.step(learner.optimizer)
            learner.scaler.update()
        learner.optimizer.zero_grad(set_to_none=True)
        if learner.average:
            learner.average.update(learner.model)

    def _report(self, losses: Sequence[Tensor], rate: float, samples: int) -> None:
        self.progressed("images", samples)
        if self.reads_loss(on_cpu=self._device.type == "cpu"):
            self.lost(torch.stack(list(losses)).sum().item(), {}, rate=rate)

    def evaluate(self) -> None:
        """Evaluates, keeps the weights if they are the best so far, and shows predictions."""
        learner = self.learner
        self.run.fault("evaluate")
        with self.run.stage("evaluate"):
            evaluation = self.evaluator.evaluate(
                learner.evaluated_model, should_stop=lambda: self.run.stop_requested() is not None
            )
        networks.set_training(learner.model, frozen_backbone=self._config.freeze_backbone)
        if evaluation is None:
            self.leave()
            return
        if self.judged(evaluation.metrics, loss=evaluation.loss):
            self.best_evaluation = evaluation
        save_predictions(self.run, learner, self.evaluator, self._data.validation, self._data.classes)
        networks.set_training(learner.model, frozen_backbone=self._config.freeze_backbone)
