"""What a base model's tokenizers make of the captions, and which prompts sample images are drawn from.

The dataset's check can only estimate tokens; here they are counted. Embeddings are computed elsewhere.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from tuneyard.diffusion.config import MAX_PROMPTS, TextToImageConfig
from tuneyard.diffusion.samples import Sample, Splits
from tuneyard.trainer.json_files import save_json
from tuneyard.trainer.run import ArtifactKind, Run

_CLIP_TOKENS = 77
_SANE_TOKENS = 1 << 16
"""A tokenizer that knows no limit names a number with thirty digits."""

CountTokens = Callable[[str], int]


@dataclass(frozen=True)
class CutCaption:
    """A caption whose end a text encoder does not read."""

    name: str
    """The image's."""
    tokens: int


@dataclass(frozen=True, kw_only=True)
class CaptionReport:
    """The captions under one tokenizer."""

    limit_tokens: int
    """What the text encoder reads, with the marks of the beginning and the end."""
    captions: int
    different: int
    empty: int
    longest_tokens: int
    mean_tokens: float
    cut: tuple[CutCaption, ...]
    """The longest first."""


def measure_captions(
    samples: Sequence[Sample], count_tokens: CountTokens, *, limit_tokens: int
) -> CaptionReport:
    """Counts the tokens of every caption; `count_tokens` includes the marks of the beginning and the end."""
    tokens = {text: count_tokens(text) for text in {sample.caption for sample in samples}}
    lengths = [tokens[sample.caption] for sample in samples]
    cut = [
        CutCaption(each.name, tokens[each.caption]) for each in samples if tokens[each.caption] > limit_tokens
    ]
    return CaptionReport(
        limit_tokens=limit_tokens,
        captions=len(samples),
        different=len(tokens),
        empty=sum(not sample.caption for sample in samples),
        longest_tokens=max(lengths, default=0),
        mean_tokens=sum(lengths) / len(lengths) if lengths else 0.0,
        cut=tuple(sorted(cut, key=lambda each: (-each.tokens, each.name))),
    )


def tell_of_captions(splits: Splits, tokenizers: Mapping[str, Any], run: Run) -> dict[str, CaptionReport]:
    """Counts all captions with each of the base model's tokenizers, by their names in the pipeline.

    Stores the artifact caption-report.json, and warns of captions that some text encoder cuts off. It is a
    run's first stage: no weights are needed.
    """
    samples = (*splits.train, *splits.class_images, *splits.validation)
    reports = {
        name: measure_captions(samples, token_counter(tokenizer), limit_tokens=token_limit(tokenizer))
        for name, tokenizer in tokenizers.items()
    }
    content = {name: asdict(report) for name, report in reports.items()}
    save_json(
        run,
        "caption-report.json",
        content,
        kind=ArtifactKind.REPORT,
        description="Captions' lengths in tokens, and which are cut off",
    )
    worst = max(reports.values(), key=lambda report: len(report.cut), default=None)
    if worst is not None and worst.cut:
        longest = worst.cut[0]
        run.warn(
            "captions_cut",
            f"{len(worst.cut)} of {worst.captions} captions are longer than the {worst.limit_tokens} tokens"
            f" that a text encoder reads; the longest, of {longest.name!r}, has {longest.tokens}. What is"
            " beyond is not learned: shorten them, and put what matters first.",
        )
    return reports


def token_counter(tokenizer: Any) -> CountTokens:
    """Counts the tokens of a text, uncut, with a tokenizer of transformers."""

    def count(text: str) -> int:
        return len(tokenizer(text, truncation=False, verbose=False)["input_ids"])

    return count


def token_limit(tokenizer: Any) -> int:
    """How many tokens the text encoder of a tokenizer reads; 77 where the tokenizer names no sane number."""
    limit = int(tokenizer.model_max_length)
    return limit if 0 < limit <= _SANE_TOKENS else _CLIP_TOKENS


def is_dropped(share: float, *, generator: torch.Generator) -> bool:
    """Whether a sample is trained with an empty caption this time."""
    return bool(torch.rand((), generator=generator).item() < share)


def sample_prompts(config: TextToImageConfig, splits: Splits) -> tuple[str, ...]:
    """The user's own prompts, or the captions of a few held-out images, drawn by the seed; at most four."""
    if config.validation_prompts:
        return config.validation_prompts[:MAX_PROMPTS]
    captions = sorted({sample.caption for sample in splits.validation if sample.caption})
    random.Random(config.seed).shuffle(captions)
    fallback = config.instance_prompt or splits.train[0].caption
    return tuple(captions[:MAX_PROMPTS]) or (fallback,)
