"""Tokenizes a split's examples once for all runs with the same data, tokenizer, template and length.

What is wrong with the examples is counted here, and told by `data`.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tuneyard.datasets.jsonl import Example
from tuneyard.datasets.jsonl_tokens import Counted, measure
from tuneyard.llm.rows import Sample
from tuneyard.llm.splits import Examples
from tuneyard.llm.templates import ChatTemplate, Encoded, TrainOn
from tuneyard.llm.token_cache import SplitWriter, TokenizedSplit
from tuneyard.trainer.run import Run

_VERSION = 1
"""To be raised with every change to what an example becomes."""
_BATCH_EXAMPLES, _BATCH_CHARACTERS = 256, 500_000
_SECONDS_BETWEEN_LINES = 5.0
_CHECKED_PROMPTS = 64
_LISTED = 5


@dataclass
class _Notes:
    """Counts of what was noticed, and the first places of each."""

    counts: dict[str, int] = field(default_factory=dict)
    places: dict[str, list[str]] = field(default_factory=dict)
    first_refusal: str = ""

    def add(self, code: str, example: Example) -> None:
        self.counts[code] = self.counts.get(code, 0) + 1
        listed = self.places.setdefault(code, [])
        if len(listed) < _LISTED:
            listed.append(f"{example.path}:{example.line}")


def tokenize_split(
    examples: Examples,
    template: ChatTemplate,
    *,
    tokenizer_fingerprint: str,
    train_on: TrainOn,
    max_length: int,
    name: str,
    run: Run,
) -> TokenizedSplit:
    """The samples of a split ("training" or "validation"), tokenized now or by an earlier run.

    Raises RecipeError where the template cannot be used, and Stopped.
    """

    def build(folder: Path) -> None:
        notes = _Notes()
        with SplitWriter(folder) as writer:
            found = _Tokenized(template, train_on, max_length, writer, notes, name=name, run=run)
            report = measure(found.accepted(examples), found.counted, max_length_tokens=max_length)
            writer.finish(
                report, {"counts": notes.counts, "places": notes.places, "refusal": notes.first_refusal}
            )

    key = {
        "version": _VERSION,
        "packages": {package: version(package) for package in ("transformers", "tokenizers", "jinja2")},
        "dataset": examples.dataset.sha256,
        "files": examples.files,
        "examples": hashlib.sha256(examples.positions.tobytes() + examples.digests.tobytes()).hexdigest(),
        "tokenizer": tokenizer_fingerprint,
        "template": template.fingerprint,
        "train_on": train_on,
        "max_length": max_length,
    }
    return TokenizedSplit(run.cached("tokens", json.dumps(key, sort_keys=True), build))


def fingerprint(tokenizer: Any) -> str:
    """A hash of everything that decides what tokens a text becomes."""
    if tokenizer.is_fast:
        rules = tokenizer.backend_tokenizer.to_str()
    else:
        rules = json.dumps([sorted(tokenizer.get_vocab().items()), _file_hashes(tokenizer)])
    facts = [type(tokenizer).__name__, rules, sorted(map(str, tokenizer.special_tokens_map.items()))]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def counted(sample: Sample) -> Counted:
    """A whole example's tokens and what of them is trained on, to be measured."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], sample.trained, [False]])))
    return Counted(len(sample), [(begin, end) for begin, end in edges.reshape(-1, 2).tolist()])


def _file_hashes(tokenizer: Any) -> list[str]:
    """Of the files that a tokenizer without a serialized form was loaded from."""
    folder = Path(str(tokenizer.name_or_path))
    paths = [folder / name for name in sorted(tokenizer.vocab_files_names.values())]
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()]


class _Tokenized:
    """Passes examples on one by one while it writes their samples."""

    def __init__(
        self,
        template: ChatTemplate,
        train_on: TrainOn,
        max_length: int,
        writer: SplitWriter,
        notes: _Notes,
        *,
        name: str,
        run: Run,
    ) -> None:
        self._template = template
        self._train_on: TrainOn = train_on
        self._max_length = max_length
        self._writer = writer
        self._notes = notes
        self._name = name
        self._run = run
        self._number = -1
        self._current = Encoded(Sample(np.empty(0, np.int32), np.empty(0, np.bool_)))

    def accepted(self, examples: Examples) -> Iterator[Example]:
        """The examples that the template takes; each is to be counted before the next is asked for."""
        total, told = len(examples), time.monotonic()
        number = 0
        for batch in batches(examples):
            self._run.check_stop()
            if time.monotonic() - told > _SECONDS_BETWEEN_LINES:
                told = time.monotonic()
                self._run.log(f"Tokenized {number} of {total} {self._name} examples.")
            for example, encoded in zip(
                batch, self._template.encode(batch, train_on=self._train_on), strict=True
            ):
                self._note(example, encoded)
                self._number, self._current = number, encoded
                number += 1
                if not encoded.refusal:
                    yield example

    def counted(self, _: Example) -> Counted:
        """The current example's tokens; writes its sample if there is something to train on."""
        sample = self._current.sample
        kept = Sample(sample.ids[: self._max_length], sample.trained[: self._max_length])
        if kept.trained.any():
            self._writer.add(self._number, kept)
        return counted(sample)

    def _note(self, example: Example, encoded: Encoded) -> None:
        notes = self._notes
        if encoded.refusal:
            notes.add("refused", example)
            notes.first_refusal = notes.first_refusal or encoded.refusal
            return
        if encoded.unproven_turns:
            notes.add("unproven", example)
        if example.kind == "text":
            return
        if self._template.folds_system and example.messages[0].role == "system":
            notes.add("system_folded", example)
        if self._template.holds_control_token(example.messages):
            notes.add("control_tokens", example)
        if self._number < _CHECKED_PROMPTS:
            notes.counts["prompts_checked"] = notes.counts.get("prompts_checked", 0) + 1
            if not self._template.prompts_hold(example):
                notes.add("prompts_differ", example)


def batches(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """The examples in lists that are to be tokenized at once."""
    batch: list[Example] = []
    characters = 0
    for example in examples:
        batch.append(example)
        characters += sum(len(message.content) for message in example.messages)
        if len(batch) >= _BATCH_EXAMPLES or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
