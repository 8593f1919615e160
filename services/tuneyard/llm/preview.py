"""What a fine-tuning would train on, before there is one: rows of a dataset in the very tokens of its run.

Template, tokenizer and mask are those that training uses. No weights are read; which rows are held out is
decided by the run.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tuneyard.datasets.jsonl import Example
from tuneyard.datasets.jsonl_tokens import BUCKETS_TOKENS, TokenReport, measure
from tuneyard.llm.config import LanguageModelConfig, TrainOnName, language_model_config
from tuneyard.llm.data import job_template
from tuneyard.llm.folder_files import description_files
from tuneyard.llm.hub import cached_tokenizer
from tuneyard.llm.sample_page import runs
from tuneyard.llm.splits import Examples, split_of
from tuneyard.llm.templates import ChatTemplate, Encoded
from tuneyard.llm.tokenizer_files import load_tokenizer
from tuneyard.llm.tokenizing import batches, counted
from tuneyard.trainer.offline import stay_offline
from tuneyard.trainer.preview_worker import PreviewInputs
from tuneyard.v1 import preview_pb2, trainer_service_pb2

MEASURED_ROWS = 2000
_MEASURED_CHARACTERS = 4_000_000
"""Some seconds of one core; small rows come to their number first."""
_SHOWN_TOKENS, _SHOWN_CHARACTERS = 4096, 40_000


def preview(
    request: trainer_service_pb2.TrainerServicePreviewRequest, inputs: PreviewInputs
) -> preview_pb2.Preview:
    """The rows asked for, and numbers about the split; raises RecipeError as a run would."""
    config = language_model_config(trainer_service_pb2.StartRunRequest(spec=request.spec))
    tokenizer = load_tokenizer(_tokenizer_folder(config, inputs))
    stay_offline()
    notices: list[preview_pb2.PreviewNotice] = []

    def notice(code: str, message: str) -> None:
        notices.append(preview_pb2.PreviewNotice(code=code, message=message))

    template = job_template(config, tokenizer, notice)
    examples = split_of(inputs.dataset, request.split)
    shown = examples[request.first_row : request.first_row + request.max_rows]
    return preview_pb2.Preview(
        max_length=config.max_length,
        chat_template=template.name,
        end_token=template.end_token,
        train_on=request.spec.training.language_model.train_on,
        row_count=len(examples),
        totals=_totals(examples, template, config),
        rows=[
            _row(example, encoded, tokenizer, max_length=config.max_length)
            for example, encoded in _encoded(shown, template, config.train_on)
        ],
        notices=notices,
    )


def _tokenizer_folder(config: LanguageModelConfig, inputs: PreviewInputs) -> Path:
    stored = inputs.model_files(description_files)
    return stored or cached_tokenizer(config.base_model, config.base_model_revision, inputs.cached)


def _encoded(
    examples: Iterable[Example], template: ChatTemplate, train_on: TrainOnName
) -> Iterator[tuple[Example, Encoded]]:
    for batch in batches(examples):
        yield from zip(batch, template.encode(batch, train_on=train_on), strict=True)


def _totals(
    examples: Examples, template: ChatTemplate, config: LanguageModelConfig
) -> preview_pb2.PreviewTotals:
    found = list(_encoded(_drawn(examples), template, config.train_on))
    taken = [(example, encoded.sample) for example, encoded in found if not encoded.refusal]
    samples = iter([sample for _, sample in taken])
    report = measure(
        [example for example, _ in taken],
        lambda _: counted(next(samples)),
        max_length_tokens=config.max_length,
    )
    return preview_pb2.PreviewTotals(
        rows=len(found),
        usable_rows=report.usable,
        cut_rows=report.truncated,
        masked_rows=report.fully_masked,
        refused_rows=len(found) - len(taken),
        tokens=report.tokens,
        kept_tokens=report.tokens_per_epoch,
        trained_tokens=report.trained_tokens_per_epoch,
        cut_tokens=report.cut_tokens,
        longest_tokens=report.longest_tokens,
        histogram=_histogram(report),
    )


def _drawn(examples: Examples) -> Iterator[Example]:
    """All examples of a small split, of a large one some at random: always the same ones."""
    characters = 0
    for number in islice(examples.in_seeded_order(0).tolist(), MEASURED_ROWS):
        example = examples[number]
        yield example
        characters += sum(len(message.content) for message in example.messages)
        if characters > _MEASURED_CHARACTERS:
            return


def _histogram(report: TokenReport) -> Sequence[preview_pb2.TokenBucket]:
    """From the first to the last bucket that has rows."""
    bounds = (*BUCKETS_TOKENS, 0)
    filled = [number for number, count in enumerate(report.histogram) if count]
    return (
        [
            preview_pb2.TokenBucket(up_to_tokens=bounds[number], rows=report.histogram[number])
            for number in range(filled[0], filled[-1] + 1)
        ]
        if filled
        else []
    )


def _row(example: Example, encoded: Encoded, tokenizer: Any, *, max_length: int) -> preview_pb2.PreviewRow:
    sample = encoded.sample
    row = preview_pb2.PreviewRow(
        path=example.path,
        line=example.line,
        tokens=len(sample),
        trained_tokens=int(sample.trained[:max_length].sum()),
        cut_tokens=max(0, len(sample) - max_length),
        refusal=encoded.refusal,
        is_shortened=len(sample) > _SHOWN_TOKENS,
    )
    left = _SHOWN_CHARACTERS
    for part in runs(sample, tokenizer, most=_SHOWN_TOKENS, max_length=max_length) if len(sample) else ():
        if left <= 0:
            row.is_shortened = True
            break
        row.texts.add(
            text=part.text[:left], is_trained=part.trained, is_control=part.control, is_cut=part.cut
        )
        row.is_shortened |= len(part.text) > left
        left -= len(part.text)
    return row
