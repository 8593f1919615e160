"""Shows what a training learns from: a few samples, decoded again, with the trained parts marked.

Decoded from the very tokens that the model gets, so that a wrong template or mask is seen before it costs a
training.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tuneyard.datasets.jsonl_tokens import BUCKETS_TOKENS, TokenReport
from tuneyard.datasets.words import counted
from tuneyard.llm.rows import Sample
from tuneyard.trainer.report_html import Facts, Looks, MarkedText, Table, write_page

_SHOWN_TOKENS = 1500
_SHOWN_CHARACTERS = 2000
_LONGEST_BAR = 40


class Run(NamedTuple):
    """Neighbouring tokens of one kind, as text."""

    text: str
    trained: bool
    control: bool
    """Whether it is a control token: one that no text spells."""
    cut: bool = False
    """Whether it is beyond the maximum length."""


def runs(
    sample: Sample, tokenizer: Any, *, most: int = _SHOWN_TOKENS, max_length: int | None = None
) -> list[Run]:
    """A sample's text in parts that are trained on, or not, or control tokens: of its first `most` tokens.

    With `max_length` the sample may be a whole example, of which what is beyond is a part of its own.
    """
    control = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    ids, trained = sample.ids[:most].tolist(), sample.trained[:most]
    is_control = np.array([token in control for token in ids], dtype=np.bool_)
    is_cut = np.arange(len(ids)) >= (len(ids) if max_length is None else max_length)
    trained = trained & ~is_cut
    changes = (trained[1:] != trained[:-1]) | (is_cut[1:] != is_cut[:-1]) | is_control[1:] | is_control[:-1]
    borders = [0, *(np.flatnonzero(changes) + 1).tolist(), len(ids)]
    texts = [_text(ids, begin, end, tokenizer) for begin, end in pairwise(borders)]
    return [
        Run(text, bool(trained[begin]), bool(is_control[begin]), bool(is_cut[begin]))
        for (begin, _), text in zip(pairwise(borders), texts, strict=True)
    ]


def write_sample_page(
    path: Path,
    samples: Sequence[tuple[str, Sample]],
    tokenizer: Any,
    facts: Mapping[str, str],
    *,
    lengths: TokenReport,
) -> Path:
    """Writes the page: how long samples are, and of each shown one where it is from and what is learned."""
    legend = MarkedText(
        title="How to read this",
        runs=[
            ("The model learns to write this. ", Looks.MARKED),
            ("It only reads this. ", Looks.DIM),
            ("<control token>", Looks.TOKEN),
        ],
        note="Decoded from the tokens that the model gets. Long samples are shown up to "
        f"{_SHOWN_TOKENS} tokens.",
    )
    return write_page(
        path,
        title="What is trained on",
        sections=[
            Facts(facts),
            _lengths(lengths),
            legend,
            *(_section(title, sample, tokenizer) for title, sample in samples),
        ],
    )


def marked_text(sample: Sample, tokenizer: Any) -> str:
    """A sample for a terminal: the trained parts stand in ⟦…⟧."""
    text, trained = "", False
    for run in runs(sample, tokenizer):
        text += ("⟦" if run.trained else "⟧") * (run.trained != trained) + run.text
        trained = run.trained
        if len(text) > _SHOWN_CHARACTERS:
            text = f"{text[:_SHOWN_CHARACTERS]}…"
            break
    return text + "⟧" * trained


def _lengths(report: TokenReport) -> Table:
    """The histogram of lengths before anything is cut, without empty buckets at its ends."""
    bounds = [0, *BUCKETS_TOKENS]
    names = [f"{low + 1:,} to {high:,}" for low, high in pairwise(bounds)] + [f"more than {bounds[-1]:,}"]
    filled = np.flatnonzero(report.histogram)
    kept = slice(filled[0], filled[-1] + 1) if len(filled) else slice(0)
    most = max(report.histogram)
    cut = f"; cut: {report.truncated:,}, {report.cut_tokens:,} tokens in all" if report.truncated else ""
    return Table(
        title="Lengths",
        columns=("tokens", "samples", ""),
        rows=[
            (name, count, "█" * -(-_LONGEST_BAR * count // most))
            for name, count in list(zip(names, report.histogram, strict=True))[kept]
        ],
        note=f"The longest training sample has {report.longest_tokens:,} tokens{cut}.",
    )


def _section(title: str, sample: Sample, tokenizer: Any) -> MarkedText:
    note = f"{counted(len(sample), 'token')}, {int(sample.trained.sum())} of them trained on."
    return MarkedText(title, [(run.text, _looks(run)) for run in runs(sample, tokenizer)], note)


def _looks(run: Run) -> Looks:
    if run.control:
        return Looks.MARKED_TOKEN if run.trained else Looks.TOKEN
    return Looks.MARKED if run.trained else Looks.DIM


def _text(ids: list[int], begin: int, end: int, tokenizer: Any) -> str:
    """The text that some tokens add to that of those before them: alone they may lose a leading space."""
    start = max(0, begin - 4)
    before, upto = (_decoded(ids[start:stop], tokenizer) for stop in (begin, end))
    return upto[len(before) :] if upto.startswith(before) else _decoded(ids[begin:end], tokenizer)


def _decoded(ids: list[int], tokenizer: Any) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
