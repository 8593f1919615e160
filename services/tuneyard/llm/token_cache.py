"""Tokenized examples on disk: written once, one after another, and mapped into memory when read.

It knows how samples are stored, not where they come from.
"""

import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from tuneyard.datasets import Code, Finding, Severity
from tuneyard.datasets.jsonl_tokens import TokenReport
from tuneyard.llm.rows import Sample

_IDS, _TRAINED, _OFFSETS, _NUMBERS, _NOTES = (
    "ids.i32",
    "trained.u1",
    "offsets.npy",
    "numbers.npy",
    "notes.json",
)


class TokenizedSplit(Sequence[Sample]):
    """A split's samples: those examples that have something to train on, cut to the maximum length.

    It holds 16 bytes for each sample; tokens are read from disk. May be shared by threads.
    """

    def __init__(self, folder: Path) -> None:
        self._offsets: NDArray[np.int64] = np.load(folder / _OFFSETS)
        self.numbers: NDArray[np.int64] = np.load(folder / _NUMBERS)
        """For each sample the number of its example among the split's examples."""
        notes = json.loads((folder / _NOTES).read_text(encoding="utf-8"))
        self.notes: Mapping[str, Any] = notes["notes"]
        """What was noticed beside the report, as it was handed to `SplitWriter.finish`."""
        self.report = report_from_json(notes["report"])
        self._ids = _mapped(folder / _IDS, np.dtype(np.int32), self.tokens)
        self._trained = _mapped(folder / _TRAINED, np.dtype(np.bool_), self.tokens)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, position: int) -> Sample: ...
    @overload
    def __getitem__(self, position: slice) -> list[Sample]: ...
    def __getitem__(self, position: int | slice) -> Sample | list[Sample]:
        if isinstance(position, slice):
            return [self[each] for each in range(*position.indices(len(self)))]
        if not -len(self) <= position < len(self):
            raise IndexError(position)
        position %= len(self)
        begin, end = int(self._offsets[position]), int(self._offsets[position + 1])
        return Sample(np.array(self._ids[begin:end]), np.array(self._trained[begin:end]))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The tokens of each sample."""
        return np.diff(self._offsets)

    @property
    def tokens(self) -> int:
        """Of all samples together: what one pass over them computes."""
        return int(self._offsets[-1])

    @property
    def trained_tokens(self) -> int:
        """Those of them that carry loss."""
        return self.report.trained_tokens_per_epoch


class SplitWriter:
    """Writes samples one after another into a folder, in flat memory; `finish` makes it readable."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ids = (folder / _IDS).open("wb")
        self._trained = (folder / _TRAINED).open("wb")
        self._ends, self._numbers = array("q", [0]), array("q")

    def add(self, number: int, sample: Sample) -> None:
        """Appends the sample of an example."""
        self._ids.write(np.ascontiguousarray(sample.ids, dtype=np.int32).data)
        self._trained.write(np.ascontiguousarray(sample.trained, dtype=np.bool_).data)
        self._ends.append(self._ends[-1] + len(sample))
        self._numbers.append(number)

    def finish(self, report: TokenReport, notes: Mapping[str, Any]) -> None:
        """Writes what is known about all of them."""
        np.save(self._folder / _OFFSETS, np.array(self._ends, dtype=np.int64))
        np.save(self._folder / _NUMBERS, np.array(self._numbers, dtype=np.int64))
        text = json.dumps({"report": report_to_json(report), "notes": dict(notes)}, ensure_ascii=False)
        (self._folder / _NOTES).write_text(text, encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ids.close()
        self._trained.close()


def report_to_json(report: TokenReport) -> dict[str, Any]:
    """A token report as JSON values."""
    return asdict(report)


def report_from_json(value: Mapping[str, Any]) -> TokenReport:
    """The report that `report_to_json` describes."""
    findings = tuple(
        Finding(**(each | {"code": Code(each["code"]), "severity": Severity(each["severity"])}))
        for each in value["findings"]
    )
    return TokenReport(**(dict(value) | {"findings": findings, "histogram": tuple(value["histogram"])}))


def _mapped(path: Path, kind: np.dtype[Any], count: int) -> NDArray[Any]:
    # An empty file cannot be mapped.
    return np.memmap(path, dtype=kind, mode="r", shape=(count,)) if count else np.empty(0, dtype=kind)
