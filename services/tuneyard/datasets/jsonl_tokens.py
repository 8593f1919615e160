"""What a job's own tokenizer, template and length make of the examples: their length, and what is cut off.

The tokenizer is passed in as a function, so that this needs none; it is a run's first stage.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tuneyard.datasets.codes import Code
from tuneyard.datasets.jsonl import Example
from tuneyard.datasets.report import Finding, FindingLog

BUCKETS_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
"""The upper bounds of the histogram's buckets; the last bucket is for all that is longer."""


class Counted(NamedTuple):
    """An example's length in tokens and, as (start, stop), the runs of tokens that are trained on."""

    tokens: int
    trained: Sequence[tuple[int, int]]


CountTokens = Callable[[Example], Counted]


@dataclass(frozen=True, kw_only=True)
class TokenReport:
    """The lengths of a split's examples under one tokenizer, template and maximum length."""

    max_length_tokens: int
    examples: int
    usable: int
    """Those with at least one token to train on within the maximum length."""
    tokens: int
    """Of all examples, whole."""
    tokens_per_epoch: int
    """Of the usable examples, cut to the maximum length: what passes through the model."""
    trained_tokens_per_epoch: int
    """Those of them that the loss is computed on."""
    longest_tokens: int
    truncated: int
    """How many examples are longer than the maximum."""
    cut_tokens: int
    """How many tokens are cut off in all."""
    fully_masked: int
    """How many examples have no token left to train on."""
    histogram: tuple[int, ...]
    """How many examples fall into each bucket of `BUCKETS_TOKENS`, and how many are longer than the last."""
    findings: tuple[Finding, ...]
    counts: dict[str, int]
    """How often each code was found, listed or not."""


def measure(
    examples: Iterable[Example],
    count_tokens: CountTokens,
    *,
    max_length_tokens: int,
    on_masked: Callable[[int], None] = lambda position: None,
) -> TokenReport:
    """Counts the tokens of every example, in flat memory; what is beyond the maximum is cut off at the end.

    `on_masked` gets the position of each example that nothing is learned from, so that it can be left out.
    """
    tally = _Tally(max_length_tokens)
    for position, example in enumerate(examples):
        if not tally.add(example, count_tokens(example)):
            on_masked(position)
    return tally.report()


class _Tally:
    """Sums over the examples so far."""

    def __init__(self, max_length_tokens: int) -> None:
        self._max = max_length_tokens
        self._log = FindingLog()
        self._histogram = [0] * (len(BUCKETS_TOKENS) + 1)
        self._examples = self._masked = self._truncated = 0
        self._tokens = self._cut = self._longest = self._per_epoch = self._trained_per_epoch = 0

    def add(self, example: Example, counted: Counted) -> bool:
        """Adds one example; whether there is something in it to train on."""
        tokens, trained = counted
        kept = min(tokens, self._max)
        kept_trained = sum(max(min(stop, kept) - start, 0) for start, stop in trained)
        self._examples += 1
        self._tokens += tokens
        self._longest = max(self._longest, tokens)
        self._histogram[bisect_left(BUCKETS_TOKENS, tokens)] += 1
        self._truncated += tokens > kept
        self._cut += tokens - kept
        self._masked += not kept_trained
        self._per_epoch += kept if kept_trained else 0
        self._trained_per_epoch += kept_trained
        _note(self._log, example, tokens=tokens, kept=kept, kept_trained=kept_trained)
        return kept_trained > 0

    def report(self) -> TokenReport:
        """What was counted, with the verdict about all examples together."""
        if self._examples and self._masked == self._examples:
            seen = f"None of {self._examples} examples has a token to train on."
            self._log.add(Code.NOTHING_TO_TRAIN_ON, seen)
        return TokenReport(
            max_length_tokens=self._max,
            examples=self._examples,
            usable=self._examples - self._masked,
            tokens=self._tokens,
            tokens_per_epoch=self._per_epoch,
            trained_tokens_per_epoch=self._trained_per_epoch,
            longest_tokens=self._longest,
            truncated=self._truncated,
            cut_tokens=self._cut,
            fully_masked=self._masked,
            histogram=tuple(self._histogram),
            findings=self._log.findings(),
            counts=self._log.counts(),
        )


def spans(mask: Iterable[bool | int]) -> list[tuple[int, int]]:
    """The runs of true values in a mask, such as a chat template's mask of the assistant's tokens."""
    found: list[tuple[int, int]] = []
    begin, position = -1, -1
    for position, value in enumerate(mask):
        if value and begin < 0:
            begin = position
        elif not value and begin >= 0:
            found.append((begin, position))
            begin = -1
    if begin >= 0:
        found.append((begin, position + 1))
    return found


def by_message(count_text: Callable[[str], int], *, overhead_tokens: int = 0) -> CountTokens:
    """Counts message by message, for when no template is at hand: an estimate.

    `overhead_tokens` is what a template adds before each message. The assistant's messages, or plain text,
    are trained on.
    """

    def count(example: Example) -> Counted:
        length = 0
        trained: list[tuple[int, int]] = []
        for role, content in example.messages:
            begin = length + overhead_tokens
            length = begin + count_text(content)
            if role in ("assistant", "text") and length > begin:
                trained.append((begin, length))
        return Counted(length, trained)

    return count


def _note(log: FindingLog, example: Example, *, tokens: int, kept: int, kept_trained: int) -> None:
    if not kept_trained:
        why = f"after cutting it to {kept} of {tokens} tokens" if tokens > kept else f"among its {tokens}"
        seen = f"The example has no token to train on {why}."
        log.add(Code.EXAMPLE_FULLY_MASKED, seen, path=example.path, line=example.line)
    elif tokens > kept:
        seen = f"The example has {tokens} tokens; {tokens - kept} of them are cut off."
        log.add(Code.EXAMPLE_TRUNCATED, seen, path=example.path, line=example.line)
