"""A training under way: a step, an evaluation, the look at the base; `Course` says when each is due."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from tuneyard.diffusion.advice import out_of_memory, training_subject
from tuneyard.diffusion.buckets import micro_batches
from tuneyard.diffusion.clip_score import METRIC as CLIP_SCORE
from tuneyard.diffusion.config import TextToImageConfig
from tuneyard.diffusion.denoiser import Denoiser, sample_losses
from tuneyard.diffusion.draws import Draw, SampleOrder
from tuneyard.diffusion.evaluation import Evaluation, Evaluator
from tuneyard.diffusion.latents import TextSource
from tuneyard.diffusion.learner import Learner
from tuneyard.diffusion.sampling import Look, Sampler
from tuneyard.diffusion.training_data import Feed, TrainingData
from tuneyard.recipes.course import Course, make_schedule
from tuneyard.recipes.optimization import learning_rate
from tuneyard.recipes.precision import autocast
from tuneyard.recipes.random_states import StepStart
from tuneyard.recipes.trained_weights import trained_parameters
from tuneyard.recipes.watch import TrainingWatch
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.last_good import LastGood
from tuneyard.trainer.oom import MicroBatching, optimizer_step
from tuneyard.trainer.run import Run

RATE_FACTOR = "rate_factor"
"""Of a group of weights: by which the rate is multiplied there."""
_METRICS = "metrics.json"


@dataclass(frozen=True)
class Model:
    """What a training computes with."""

    denoiser: Denoiser
    """With adapters."""
    texts: TextSource
    """Kept, or from encoders that may have adapters."""
    base_identity: str
    """Names all that the untrained model's answers depend on but what it is asked."""


class Training(Course):
    """Moves a text-to-image model's adapters forward and tells the run about it."""

    def __init__(
        self,
        config: TextToImageConfig,
        learner: Learner,
        model: Model,
        data: TrainingData,
        sampler: Sampler,
        *,
        batching: MicroBatching,
        last_good: LastGood,
        device: torch.device,
        run: Run,
    ) -> None:
        order = SampleOrder(data.samples, samples_per_step=config.effective_batch_size, seed=config.seed)
        schedule = make_schedule(
            samples=len(order),
            samples_per_step=config.effective_batch_size,
            epochs=config.epochs,
            max_steps=config.max_steps,
        )
        watch = TrainingWatch(training_subject(config, run.dataset().report), run, losses=learner.curves)
        super().__init__(config, learner, schedule, watch=watch, last_good=last_good, run=run)
        self.learner = learner
        self._config = config
        self._denoiser = model.denoiser
        self._texts = model.texts
        self._base_identity = model.base_identity
        self._sampler = sampler
        self._batching = batching
        self._device = device
        self._order = order
        threads = config.data_loader_workers or run.cpu_threads
        self._feed = Feed(data, config, model.denoiser.process, device=device, threads=threads)
        self._evaluator = Evaluator(
            data.validation,
            data.latents,
            model.texts,
            batch_size=config.batch_size,
            precision=learner.precision,
            device=device,
        )
        self._start = StepStart(learner.model)
        self._trained = trained_parameters(learner.model)
        self._loading_seconds = 0.0
        self._drawn: dict[int, Look] = {}

    def run_to_end(self) -> str | None:
        """As every course, after a look at the base before the first step."""
        if self.counters.step == 0 and self.learner.base_metrics is None:
            self._look_at_base()
        return super().run_to_end()

    def step(self) -> None:
        """Makes one optimizer step over its samples and reports it. Raises Diverged."""
        began = time.monotonic()
        learner, counters = self.learner, self.counters
        draws = self._draws(counters.step)
        self._feed.expect([*draws, *self._draws(counters.step + 1)])
        self._loading_seconds = 0.0

        def work(piece: list[Draw], _: float) -> Tensor:
            if piece[0] is draws[0]:
                self.run.fault(f"step={counters.step + 1}")
            return self._forward_and_backward(piece, samples=len(draws))

        losses = self._run_step(draws, work)
        rate = learning_rate(self._config, step=counters.step, total_steps=self.schedule.total_steps)
        rate *= counters.rate_factor
        for group in learner.optimizer.param_groups:
            group["lr"] = rate * group[RATE_FACTOR]
        norm = optimizer_step(self._update)
        counters.step += 1
        self.progressed("images", len(draws))
        if self.reads_loss(on_cpu=self._device.type == "cpu"):
            found = norm.item()
            # A loss scale that was too high is lowered, and its step left out: no fault of the training.
            told = {"train/grad_norm": found} if math.isfinite(found) else {}
            self.lost(torch.stack(losses).sum().item(), told, rate=rate)
        self.watch.worked(loading_seconds=self._loading_seconds, step_seconds=time.monotonic() - began)
        if self._sample_due:
            self.show_samples()

    def _draws(self, step: int) -> list[Draw]:
        """The samples of a step, those of one bucket together: few micro-batches then hold two of them."""
        return sorted(self._order.step(step), key=self._feed.bucket)

    def _forward_and_backward(self, piece: Sequence[Draw], *, samples: int) -> Tensor:
        """Adds the gradients of a micro-batch; returns its part of the step's mean loss."""
        scaler = self.learner.scaler
        losses = []
        for group in micro_batches([self._feed.bucket(draw) for draw in piece], size=len(piece)):
            # Sums over groups, over this, add up to the mean over the step's samples however it is cut.
            loss = self._loss_sum([piece[number] for number in group]) / samples
            torch.autograd.backward(scaler.scale(loss))
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _loss_sum(self, draws: Sequence[Draw]) -> Tensor:
        """The loss of samples of one bucket, summed."""
        began = time.monotonic()
        batch = self._feed.batch(draws)
        self._loading_seconds += time.monotonic() - began
        # Elsewhere the weights are in the arithmetic's format, and adapters cast their inputs themselves.
        with autocast("fp16" if self.learner.precision == "fp16" else "fp32", self._device):
            losses = sample_losses(
                self._denoiser,
                batch.latents,
                batch.noise,
                batch.times,
                text=self._texts.encoded(batch.captions).to(self._device),
                frames=batch.frames,
            )
        return (losses * batch.weights).sum()

    def _run_step(self, draws: list[Draw], work: Callable[[list[Draw], float], Tensor]) -> list[Tensor]:
        """Forward and backward; what a lack of memory asks for is told in this family's words."""
        try:
            return self._batching.run_step(
                self.counters.step + 1,
                draws,
                work,
                snapshot=self._start.snapshot,
                restore=self._start.restore,
            )
        except RecipeError as error:
            if error.reason != "OUT_OF_MEMORY":
                raise
            raise out_of_memory(self._config) from error

    def _update(self) -> Tensor:
        """Clips and applies the gradients; returns their norm as it was before."""
        learner, limit = self.learner, self._config.max_grad_norm
        learner.scaler.unscale_(learner.optimizer)
        norm = get_total_norm([p.grad for p in self._trained if p.grad is not None])
        if limit:
            clip_grads_with_norm_(self._trained, limit, norm)
        learner.scaler.step(learner.optimizer)
        learner.scaler.update()
        learner.optimizer.zero_grad(set_to_none=True)
        if learner.average:
            learner.average.update(learner.model)
        return norm

    def evaluate(self) -> None:
        """Evaluates, keeps the weights if they are the best so far, and draws the prompts if that is due."""
        self.run.fault("evaluate")
        with self.learner.averaged():
            evaluation = self._evaluated()
        if evaluation is None:
            self.leave()
            return
        self.judged(evaluation.metrics, loss=evaluation.loss)
        if self._config.sample_steps is None:
            self.show_samples()

    def show_samples(self) -> None:
        """Draws the prompts with the weights as they would be stored."""
        with self.learner.averaged():
            self._draw(self.counters.step)

    def show_best(self) -> Look:
        """Draws the prompts with the weights that were put back, where that was not done at their step."""
        self._draw(self.counters.best_step)
        return self._drawn[self.counters.best_step]

    def _draw(self, step: int) -> None:
        if step in self._drawn:
            return
        with self.run.stage("draw_samples"):
            look = self._drawn[step] = self._sampler.show(step=step)
        # Those of the best weights are drawn last, and may be of an earlier step: they are the result's.
        if look.score is not None and step == self.counters.step:
            self.run.metrics(step=step, epoch=self.epoch, values={CLIP_SCORE: look.score})

    def _evaluated(self) -> Evaluation | None:
        """What was measured; None if a stop was asked for meanwhile."""
        model = self.learner.model
        model.eval()
        with self.run.stage("evaluate"):
            found = self._evaluator.evaluate(
                self._denoiser, should_stop=lambda: self.run.stop_requested() is not None
            )
        model.train()
        return found

    def _look_at_base(self) -> None:
        """Evaluates the untrained model, whose adapters change nothing yet: tuning is compared with it.

        The values are recorded at step 0, and count neither as the best nor for early stopping. They are
        those of any job with this base and these held-out images, and measured once.
        """

        def build(folder: Path) -> None:
            evaluation = self._evaluated()
            if evaluation is None:
                self.leave()
                raise RuntimeError("an evaluation ended without a stop")
            (folder / _METRICS).write_text(json.dumps(evaluation.metrics), encoding="utf-8")

        key = f"{self._base_identity}:{self._evaluator.identity}"
        folder = self.run.cached("base-evaluations", hashlib.sha256(key.encode()).hexdigest(), build)
        metrics = json.loads((folder / _METRICS).read_text(encoding="utf-8"))
        if self._sampler.scores:
            with self.run.stage("draw_samples"):
                score = self._sampler.score_base()
            metrics |= {CLIP_SCORE: score} if score is not None else {}
        # After a rollback to the beginning it is known already.
        if self.counters.rate_factor == 1:
            self.run.metrics(step=0, epoch=0.0, values=metrics)
        self.learner.base_metrics = metrics

    @property
    def _sample_due(self) -> bool:
        steps = self._config.sample_steps
        return steps is not None and self.counters.step % steps == 0
