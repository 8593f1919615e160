"""A fine-tuning under way: a step, an evaluation, the look at the base; `Course` says when each is due."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from tuneyard.llm.advice import fine_tuning_subject, out_of_memory
from tuneyard.llm.answers import answer_all
from tuneyard.llm.config import LanguageModelConfig
from tuneyard.llm.data import LanguageData
from tuneyard.llm.evaluation import Evaluation, Evaluator
from tuneyard.llm.learner import BaseLook, Learner
from tuneyard.llm.loss import loss_sums
from tuneyard.llm.rows import Rows, SampleOrder, micro_batches, pack
from tuneyard.recipes.course import Course, make_schedule
from tuneyard.recipes.optimization import learning_rate, set_learning_rate
from tuneyard.recipes.random_states import StepStart
from tuneyard.recipes.trained_weights import trained_parameters
from tuneyard.recipes.watch import TrainingWatch
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.last_good import LastGood
from tuneyard.trainer.oom import MicroBatching, optimizer_step
from tuneyard.trainer.run import Run

_BASE_SHARE = 0.1
"""The base is evaluated before the first step where that costs at most this share of the training."""
_FORWARD_SHARE = 1 / 3
"""Of a training step's time: backward takes about twice as long as forward."""


class Training(Course):
    """Moves a language model forward and tells the run about it."""

    def __init__(
        self,
        config: LanguageModelConfig,
        learner: Learner,
        data: LanguageData,
        tokenizer: Any,
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
        subject = fine_tuning_subject(config, run.dataset().report)
        watch = TrainingWatch(subject, run, losses=learner.curves)
        super().__init__(config, learner, schedule, watch=watch, last_good=last_good, run=run)
        self.learner = learner
        self._config = config
        self._data = data
        self._tokenizer = tokenizer
        self._batching = batching
        self._device = device
        self._order = SampleOrder(
            len(data.train), samples_per_step=config.effective_batch_size, seed=config.seed
        )
        self._evaluator = Evaluator(
            data.validation,
            config,
            pad_token=tokenizer.pad_token_id,
            precision=learner.precision,
            device=device,
        )
        self._start = StepStart(learner.model)
        self._trained = trained_parameters(learner.model)

    @property
    def config(self) -> LanguageModelConfig:
        """The settings that hold in this run."""
        return self._config

    def run_to_end(self) -> str | None:
        """As every course, after a look at the base before the first step."""
        if self.counters.step == 0 and self.learner.base is None:
            self._look_at_base()
        return super().run_to_end()

    def step(self) -> None:
        """Makes one optimizer step over its samples, packed into rows, and reports it. Raises Diverged."""
        learner, counters = self.learner, self.counters
        rows = self._rows(counters.step + 1)
        # Sums over micro-batches, over this, add up to the mean over the step's tokens however it is cut.
        trained_tokens = max(1, sum(row.trained_tokens for row in rows))

        def work(piece: list[Rows], _: float) -> Tensor:
            if piece[0] is rows[0]:
                self.run.fault(f"step={counters.step + 1}")
            loss = self._loss_sum(piece) / trained_tokens
            torch.autograd.backward(learner.scaler.scale(loss))
            return loss.detach()

        losses = self._run_step(rows, work)
        rate = learning_rate(self._config, step=counters.step, total_steps=self.schedule.total_steps)
        rate *= counters.rate_factor
        set_learning_rate(learner.optimizer, rate)
        norm = optimizer_step(self._update)
        counters.step += 1
        self.progressed("tokens", sum(row.tokens for row in rows))
        if self.reads_loss(on_cpu=self._device.type == "cpu"):
            found = norm.item()
            # A loss scale that was too high is lowered, and its step left out: no fault of the training.
            told = {"train/grad_norm": found} if math.isfinite(found) else {}
            self.lost(torch.stack(losses).sum().item(), told, rate=rate)

    def _rows(self, step: int) -> list[Rows]:
        """The rows of a step, which counts from 1: of the same samples whether packed or not."""
        return pack(
            [self._data.train[position] for position in self._order.positions(step).tolist()],
            max_length=self._config.max_length,
            packing=self._config.packing,
            pad_token=self._tokenizer.pad_token_id,
        )

    def _run_step(self, rows: list[Rows], work: Callable[[list[Rows], float], Tensor]) -> list[Tensor]:
        """Forward and backward; what a lack of memory asks for is told in this family's words."""
        try:
            return self._batching.run_step(
                self.counters.step + 1,
                rows,
                work,
                snapshot=self._start.snapshot,
                restore=self._start.restore,
            )
        except RecipeError as error:
            if error.reason != "OUT_OF_MEMORY":
                raise
            raise out_of_memory(self._config) from error

    def _loss_sum(self, piece: list[Rows]) -> Tensor:
        """The loss of a micro-batch, summed over its trained tokens."""
        (rows,) = micro_batches(piece, len(piece), pad_token=self._tokenizer.pad_token_id)
        return loss_sums(
            self.learner.model,
            rows,
            precision=self.learner.precision,
            device=self._device,
            method=self._config.method,
        ).loss

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
        return norm

    def evaluate(self) -> None:
        """Evaluates, keeps the weights if they are the best so far, and answers the held-out prompts."""
        self.run.fault("evaluate")
        evaluation = self._evaluated()
        if evaluation is None:
            self.leave()
            return
        self.judged(evaluation.metrics, loss=evaluation.loss)
        self._tell_answers()

    def _evaluated(self) -> Evaluation | None:
        """What was measured; None if a stop was asked for meanwhile."""
        model = self.learner.model
        with self.run.stage("evaluate"):
            found = self._evaluator.evaluate(model, should_stop=lambda: self.run.stop_requested() is not None)
        model.train()
        return found

    def _look_at_base(self) -> None:
        """Evaluates the untrained model, if that is cheap, and keeps its answers: tuning is compared with it.

        A model that is trained whole cannot be asked later. The values are recorded at step 0, and count
        neither as the best nor for early stopping.
        """
        metrics: dict[str, float] = {}
        if self._base_is_cheap:
            evaluation = self._evaluated()
            if evaluation is None:
                self.leave()
                return
            metrics = evaluation.metrics
            # After a rollback to the beginning it is known already.
            if self.counters.rate_factor == 1:
                self.run.metrics(step=0, epoch=0.0, values=metrics)
        self.learner.base = BaseLook(metrics, self._answers())

    @property
    def _base_is_cheap(self) -> bool:
        passes = self.schedule.total_epochs
        cost = _FORWARD_SHARE * self._data.validation.tokens
        return cost <= _BASE_SHARE * passes * self._data.train.tokens

    def _answers(self) -> list[str]:
        prompts = [self._data.template.prompt(prompt.messages) for prompt in self._data.prompts]
        with self.run.stage("answer_prompts"):
            return answer_all(
                self.learner.model, self._tokenizer, prompts, step=self.counters.step, run=self.run
            )

    def _tell_answers(self) -> None:
        """Shows each held-out prompt with the tuned model's answer, the base's, and the dataset's own."""
        if not self._data.prompts:
            return
        base = self.learner.base.answers if self.learner.base else [""] * len(self._data.prompts)
        shown = zip(self._data.prompts, self._answers(), base, strict=True)
        for number, (prompt, tuned, before) in enumerate(shown, start=1):
            self.run.sample_text(
                title=f"Held-out prompt {number} after step {self.counters.step}",
                step=self.counters.step,
                prompt=prompt.text,
                tuned=tuned,
                base=before,
                reference=prompt.reference,
            )
