"""Which examples of a JSONL dataset train and which are held out. Text only: no tokens, no torch.

Which side an example is on follows from its content and the seed alone, so that an evaluation much later
finds the same held-out rows. The test split is not read here.
"""

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from tuneyard.datasets import Cancelled
from tuneyard.datasets.jsonl import Example, JsonlIndex, index
from tuneyard.datasets.jsonl_lines import FileUnusable
from tuneyard.datasets.jsonl_split import similar_groups, split
from tuneyard.llm.config import LanguageModelConfig
from tuneyard.trainer.errors import RecipeError
from tuneyard.trainer.run import DatasetFiles, Run

_GROUPS_VERSION = 1
_NOTED_SIZE = 20_000
"""Examples from which on the search for near copies takes seconds, and is told."""


class Examples(Sequence[Example]):
    """Some examples of a dataset, read when asked for."""

    def __init__(self, found: JsonlIndex, positions: NDArray[np.int64], *, dataset: DatasetFiles) -> None:
        self._found = found
        self.positions = positions
        """Where they are in the index, ascending."""
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.positions)

    @overload
    def __getitem__(self, number: int) -> Example: ...
    @overload
    def __getitem__(self, number: slice) -> list[Example]: ...
    def __getitem__(self, number: int | slice) -> Example | list[Example]:
        if isinstance(number, slice):
            return [self._found[int(position)] for position in self.positions[number]]
        return self._found[int(self.positions[number])]

    def __iter__(self) -> Iterator[Example]:
        return (self._found[position] for position in self.positions.tolist())

    @property
    def files(self) -> tuple[str, ...]:
        """What the dataset's files are called, which findings name."""
        return tuple(file.name for file in self._found.files)

    @property
    def digests(self) -> NDArray[np.uint64]:
        """A hash of the content of each."""
        return np.frombuffer(self._found.digests, dtype=np.uint64)[self.positions]

    @property
    def sha256(self) -> str:
        """Of what they say, in hex, whatever their order and their dataset's other lines."""
        return hashlib.sha256(np.sort(self.digests).tobytes()).hexdigest()

    def in_seeded_order(self, seed: int) -> NDArray[np.int64]:
        """Numbers of the examples in an order that follows from their content and the seed."""
        return np.argsort(
            _mixed(self.digests ^ _mixed(np.array([abs(seed)], dtype=np.uint64))), kind="stable"
        )

    def subset(self, count: int, *, seed: int) -> "Examples":
        """At most so many of them, drawn by content and seed, in their own order."""
        chosen = np.sort(self.in_seeded_order(seed)[:count])
        return Examples(self._found, self.positions[chosen], dataset=self.dataset)


@dataclass(frozen=True)
class Splits:
    """The two splits that training may see."""

    train: Examples
    validation: Examples


def make_splits(config: LanguageModelConfig, run: Run) -> Splits:
    """The named validation dataset, or else the dataset's own validation files, or else a seeded split.

    Copies and near copies of one example stay on one side of a split made here. Raises RecipeError
    DATASET_INVALID, and Stopped.
    """
    files = run.dataset()
    found = _indexed(files)
    other = run.validation_dataset()
    train = _of(found, "train", files)
    if other is not None:
        second = _indexed(other)
        validation = _of(second, "val" if "val" in second.splits else "train", other)
    elif "val" in found.splits:
        validation = _of(found, "val", files)
    else:
        train, validation = _divided(found, files, config, run)
    if len(train) == 0 or len(validation) == 0:
        raise _too_few(f"The dataset leaves no example for {'validation' if len(train) else 'training'}.")
    if config.max_train_samples is not None:
        train = train.subset(config.max_train_samples, seed=config.seed)
    _warn_of_leaks(train, validation, run)
    return Splits(train, validation)


def split_of(files: DatasetFiles, name: str) -> Examples:
    """All examples that the dataset's files bring for a split; raises RecipeError DATASET_INVALID."""
    return _of(_indexed(files), name, files)


def _indexed(files: DatasetFiles) -> JsonlIndex:
    try:
        return index(files.dir, files.report)
    except FileUnusable as error:
        raise RecipeError(
            f"The dataset cannot be read: {error}",
            reason="DATASET_INVALID",
            remedies=("Check the dataset again, and upload it anew.",),
        ) from error


def _of(found: JsonlIndex, name: str, files: DatasetFiles) -> Examples:
    return Examples(found, np.array(found.splits.get(name, range(0)), dtype=np.int64), dataset=files)


def _divided(
    found: JsonlIndex, files: DatasetFiles, config: LanguageModelConfig, run: Run
) -> tuple[Examples, Examples]:
    groups = _groups(found, files, run)
    share, seed = config.validation_fraction, config.seed
    try:
        divided = split(found, validation_share=share, seed=seed, groups=groups)
    except ValueError:
        try:
            # All are near copies of each other: only equal ones are kept together then.
            divided = split(found, validation_share=share, seed=seed)
        except ValueError as error:
            raise _too_few(f"The dataset cannot be divided: {error}.") from error
    train, validation = (
        Examples(found, np.array(side, dtype=np.int64), dataset=files)
        for side in (divided.train, divided.val)
    )
    wanted = share * (len(train) + len(validation))
    if not wanted / 2 <= len(validation) <= wanted * 2 + 1:
        run.warn(
            "split_share_missed",
            f"{len(validation)} of {len(train) + len(validation)} examples are held out, not {share:.0%}: "
            "too many are copies or near copies of each other, which stay on one side of the split.",
        )
    return train, validation


def _groups(found: JsonlIndex, files: DatasetFiles, run: Run) -> Sequence[int]:
    """What stays on one side of a split: found once for a dataset and a list of lines that are left out."""
    left_out = hashlib.sha256("\n".join(sorted(files.report.excluded)).encode()).hexdigest()

    def build(folder: Path) -> None:
        if len(found) >= _NOTED_SIZE:
            run.log(f"Searching {len(found)} examples for near copies of each other.")
        try:
            groups = similar_groups(found, should_stop=lambda: run.stop_requested() is not None)
        except Cancelled:
            run.check_stop()
            raise
        np.save(folder / "groups.npy", np.array(groups, dtype=np.int64))

    key = f"{_GROUPS_VERSION}:{files.sha256}:{left_out}"
    loaded: NDArray[np.int64] = np.load(run.cached("jsonl-groups", key, build) / "groups.npy")
    return array("q", loaded.tobytes())


def _warn_of_leaks(train: Examples, validation: Examples, run: Run) -> None:
    leaked = int(np.isin(validation.digests, train.digests).sum())
    if leaked:
        run.warn(
            "validation_leak",
            f"{leaked} of {len(validation)} validation examples are trained on too: what is measured on "
            "them says nothing about new ones.",
        )


def _too_few(message: str) -> RecipeError:
    return RecipeError(
        message,
        reason="DATASET_INVALID",
        remedies=("Add more different examples to the dataset.", "Name a validation dataset of its own."),
    )


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64: every bit of a value moves every bit of the result."""
    with np.errstate(over="ignore"):
        values = values + np.uint64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
