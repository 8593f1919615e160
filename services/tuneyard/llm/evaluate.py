"""Evaluates a finished language model on held-out rows: from its job's artifacts to a report, top to bottom.

Interrupted, it begins anew: nothing is saved before everything is measured.
"""

import time
from pathlib import Path

import torch
from torch import nn

from tuneyard.datasets.jsonl import Example
from tuneyard.datasets.words import counted
from tuneyard.llm.config import LanguageModelConfig
from tuneyard.llm.evaluate_report import Answered, Measured, save_report
from tuneyard.llm.evaluate_samples import MeasuredExamples, measured_examples
from tuneyard.llm.evaluation import Evaluation, Evaluator
from tuneyard.llm.finished import FinishedLanguageModel, StoredModel, hub_base, load_finished
from tuneyard.llm.generation import context_length, generate_batch
from tuneyard.llm.text_scores import score_text
from tuneyard.llm.token_cache import TokenizedSplit
from tuneyard.llm.tokenizing import fingerprint, tokenize_split
from tuneyard.trainer.errors import RecipeError, Stop, Stopped
from tuneyard.trainer.evaluate_config import EvaluateConfig
from tuneyard.trainer.offline import stay_offline
from tuneyard.trainer.oom import free_memory, is_out_of_memory
from tuneyard.trainer.run import Result, Run

_ANSWERED = 64
"""Rows that are answered; the loss is measured on all of them."""
_SECONDS_TO_ANSWER = 900.0
_AT_ONCE = {"cuda": 16}
_AT_ONCE_ELSEWHERE = 4
_ROOM_FOR_MORE, _MOST_NEW_TOKENS = 16, 512
"""An answer may be half as long again as the longest reference beside it, and this many tokens more."""


def evaluate(config: EvaluateConfig, source: LanguageModelConfig, run: Run) -> Result:
    """Measures the model, and its base where that can be had. Raises RecipeError and Stopped."""
    device = torch.device(run.device)
    torch.set_num_threads(run.cpu_threads)
    stored = StoredModel.read(run.source_artifacts())
    with run.stage("load_model"):
        model = load_finished(
            stored, source, lambda: base_folder(stored, source, run), device=device, as_trained=True
        )
        no_base = _why_no_base(config, model)
    with run.stage("prepare_data"):
        chosen = measured_examples(config, source, manifest=stored.manifest, run=run)
        rows = _tokenized(chosen, source, model, run)
    for code, warning in chosen.warnings.items():
        run.warn(code, warning)
    size = f"{counted(len(rows), 'row')} ({counted(rows.trained_tokens, 'token')})"
    run.log(f"Measuring on {size}: {chosen.origin}.")

    measuring = Measuring(run, source, model, rows, device=device, compares=not no_base)
    with run.stage("evaluate", counted(len(rows), "row")):
        tuned = measuring.loss(model.model)
        base = None
        if not no_base:
            with model.base() as other:
                base = measuring.loss(other)
    with run.stage("answer", f"at most {_ANSWERED} rows"):
        answers = measuring.answers(chosen, seed=source.seed)

    run.finalizing()
    measured = Measured(
        config=config,
        method=source.method,
        base_model=source.base_model,
        template=model.template.name,
        precision=model.precision,
        rows=len(rows),
        origin=chosen.origin,
        warning=chosen.warning,
        tuned=tuned,
        base=base,
        no_base=no_base,
        answers=answers,
    )
    run.metrics(step=measuring.done, epoch=1, values=measured.metrics)
    save_report(run, measured)
    return Result(metrics=measured.metrics, step=measuring.done, summary=measured.summary)


class Measuring:
    """Passes over a split with one model after the other, and how far they are: in rows."""

    def __init__(
        self,
        run: Run,
        source: LanguageModelConfig,
        model: FinishedLanguageModel,
        rows: TokenizedSplit,
        *,
        device: torch.device,
        compares: bool,
    ) -> None:
        self._run = run
        self._source = source
        self._model = model
        self._rows = rows
        self._device = device
        self._compares = compares
        self._at_once = _AT_ONCE.get(device.type, _AT_ONCE_ELSEWHERE)
        self._models = 2 if compares else 1
        self._total = self._models * (len(rows) + min(_ANSWERED, len(rows)))
        self.done = 0
        """Rows that were measured or answered so far, over all models."""

    def loss(self, model: nn.Module) -> Evaluation:
        """The losses on all rows, as the training's evaluations measure them. Raises Stopped."""
        evaluator = Evaluator(
            self._rows,
            self._source,
            pad_token=self._model.tokenizer.pad_token_id,
            precision=self._model.precision,
            device=self._device,
        )
        begun = self.done
        # It asks before each micro-batch, which has this many rows or, packed, more.
        step = self._source.batch_size

        def should_stop() -> bool:
            self._run.fault(f"step={self.done + 1}")
            self._advance(min(step, begun + len(self._rows) - self.done))
            return self._run.stop_requested() is not None

        found = evaluator.evaluate(model, should_stop=should_stop)
        if found is None:
            raise Stopped(self._run.stop_requested() or Stop.CANCEL, self.done)
        self._advance(begun + len(self._rows) - self.done)
        return found

    def answers(self, chosen: MeasuredExamples, *, seed: int) -> list[Answered]:
        """Answers to some of the conversations, drawn by the seed; as many as the time allows.

        Both models answer the same ones, a few at a time.
        """
        deadline = time.monotonic() + _SECONDS_TO_ANSWER
        left = self._conversations(chosen, seed)
        answered: list[Answered] = []
        while left and (not answered or time.monotonic() < deadline):
            self._run.check_stop(self.done)
            examples = left[: self._at_once]
            try:
                answered += self._answered(examples)
            except Exception as error:
                if not is_out_of_memory(error) or len(examples) == 1:
                    raise
                self._at_once = len(examples) // 2
                free_memory()
                continue
            left = left[len(examples) :]
            self._advance(len(examples) * self._models)
        if left:
            self._run.log(
                f"Answered {len(answered)} of {len(answered) + len(left)} rows: more would take too long."
            )
        return answered

    def _conversations(self, chosen: MeasuredExamples, seed: int) -> list[Example]:
        """Rows with an answer to compare with and room to give one."""
        usable = set(self._rows.numbers.tolist())
        found: list[Example] = []
        for number in chosen.examples.in_seeded_order(seed).tolist():
            if len(found) == _ANSWERED:
                break
            example = chosen.examples[number]
            if number in usable and example.kind == "chat" and self._has_room(example):
                found.append(example)
        return found

    def _has_room(self, example: Example) -> bool:
        limit = context_length(self._model.model)
        return limit is None or len(self._model.template.prompt(example.messages[:-1])) < limit

    def _answered(self, examples: list[Example]) -> list[Answered]:
        tuned = self._generated(self._model.model, examples)
        base: list[str] | None = None
        if self._compares:
            with self._model.base() as other:
                base = self._generated(other, examples)
        return [
            Answered(
                messages=example.messages[:-1],
                reference=example.messages[-1].content,
                place=f"{example.path}:{example.line}",
                tuned=tuned[at],
                score=score_text(tuned[at], example.messages[-1].content),
                base=base[at] if base else "",
                base_score=score_text(base[at], example.messages[-1].content) if base else None,
            )
            for at, example in enumerate(examples)
        ]

    def _generated(self, model: nn.Module, examples: list[Example]) -> list[str]:
        tokenizer = self._model.tokenizer
        references = [tokenizer(example.messages[-1].content)["input_ids"] for example in examples]
        longest = max(len(ids) for ids in references)
        with self._model.computing():
            return generate_batch(
                model,
                tokenizer,
                [self._model.template.prompt(example.messages[:-1]) for example in examples],
                max_new_tokens=min(longest + longest // 2 + _ROOM_FOR_MORE, _MOST_NEW_TOKENS),
                ends=self._model.ends,
                check=lambda: self._run.check_stop(self.done),
            )

    def _advance(self, rows: int) -> None:
        self.done += rows
        self._run.progress(
            step=self.done,
            total_steps=max(self._total, self.done),
            epoch=min(1.0, self.done / self._total),
            total_epochs=1,
            unit="samples",
            count=rows,
        )


def base_folder(stored: StoredModel, source: LanguageModelConfig, run: Run) -> Path:
    """The base model's files: from the store, else from the hub or what is cached of it.

    Raises RecipeError BASE_MODEL_UNAVAILABLE.
    """
    folder = run.model_files()
    if folder is None:
        folder = hub_base(stored, source, run.cached)
    else:
        facts = run.manifest().get("base_model") or {}
        stored.require_base(facts.get("sha256", ""), name=source.base_model)
    stay_offline()
    return folder


def _why_no_base(config: EvaluateConfig, model: FinishedLanguageModel) -> str:
    """Why there is no comparison, in a sentence for people; "" where the base is at hand."""
    if not config.compare_with_base:
        return "A comparison with the base model was not asked for."
    try:
        with model.base():
            return ""
    except RecipeError as error:
        return f"The base model cannot be had: {error.message}"
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        free_memory()
        return "The base model does not fit into memory beside the tuned one."


def _tokenized(
    chosen: MeasuredExamples, source: LanguageModelConfig, model: FinishedLanguageModel, run: Run
) -> TokenizedSplit:
    """The rows as the training would have cut and masked them. Raises RecipeError DATASET_INVALID."""
    rows = tokenize_split(
        chosen.examples,
        model.template,
        tokenizer_fingerprint=fingerprint(model.tokenizer),
        train_on=source.train_on,
        max_length=source.max_length,
        name="held-out",
        run=run,
    )
    if not len(rows):
        raise RecipeError(
            f"Of {len(chosen.examples)} rows none has an answer within {source.max_length} tokens.",
            reason="DATASET_INVALID",
            remedies=("Name a dataset with shorter rows.",),
        )
    return rows
